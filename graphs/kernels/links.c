/* The strongest entries of each row of a product L M, and their look-up; see links.py, which has the same in scipy.

   Row m of M is a part of one array: nodes[first[m]] to nodes[last[m]]. A row of the product is summed into one double
   per node, in the order of L and then of M, so the bits are those of scipy's product. Every row belongs to one thread.

   If a row adds more terms than a fourth of the nodes, all nodes are read at its end; else those that were added to. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { double value; int32_t node; } Entry;
typedef struct { int32_t node; float value; } Kept;

/* The larger value first, among equal ones the smaller node. */
static inline int stronger(Entry a, Entry b) {
    return a.value > b.value || (a.value == b.value && a.node < b.node);
}

/* Move the k strongest of more than k entries to the front. */
static void select_strongest(Entry *x, int64_t count, int64_t k) {
    int64_t low = 0, high = count - 1;
    while (low < high) {
        Entry pivot = x[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (stronger(x[i], pivot)) i++;
            while (stronger(pivot, x[j])) j--;
            if (i <= j) {
                Entry swapped = x[i];
                x[i++] = x[j];
                x[j--] = swapped;
            }
        }
        if (k - 1 <= j) high = j;
        else if (k - 1 >= i) low = i;
        else return;
    }
}

static int by_node(const void *a, const void *b) {
    int32_t x = ((const Kept *)a)->node, y = ((const Kept *)b)->node;
    return (x > y) - (x < y);
}

/* Write the k strongest entries of some rows: count, then k places of node and value per row. 1: no memory. */
int strongest(int64_t num_nodes, int64_t k, int exclude_self, int64_t num_rows, const int64_t *rows,
              const int64_t *indptr, const int32_t *indices, const double *left, const double *weight,
              const int64_t *first, const int64_t *last, const int32_t *nodes, const double *right, const double *gap,
              const double *root, int32_t *count, int32_t *node, float *value) {
    double *sum = calloc(num_nodes, sizeof *sum);
    int32_t *touched = malloc(num_nodes * sizeof *touched);
    Entry *entries = malloc(num_nodes * sizeof *entries);
    Kept *kept = malloc((k < num_nodes ? k : num_nodes) * sizeof *kept);
    if (!sum || !touched || !entries || !kept) {
        free(sum), free(touched), free(entries), free(kept);
        return 1;
    }
    for (int64_t r = 0; r < num_rows; r++) {
        int64_t i = rows[r], terms = 0, num_touched = 0, found = 0;
        for (int64_t p = indptr[i]; p < indptr[i + 1]; p++) terms += last[indices[p]] - first[indices[p]];
        int all = terms > num_nodes / 4;
        for (int64_t p = indptr[i]; p < indptr[i + 1]; p++) {
            int64_t m = indices[p];
            double w = left ? left[p] * weight[m] : weight[m];
            if (w == 0) continue;
            if (all && !right && !gap) {
                for (int64_t q = first[m]; q < last[m]; q++) sum[nodes[q]] += w;
                continue;
            }
            for (int64_t q = first[m]; q < last[m]; q++) {
                double term = right ? w * right[q] : gap ? w * gap[m - q] : w;
                if (!all && sum[nodes[q]] == 0 && term != 0) touched[num_touched++] = nodes[q];
                sum[nodes[q]] += term;
            }
        }
        if (exclude_self) sum[i] = 0;
        int64_t read = all ? num_nodes : num_touched;
        for (int64_t t = 0; t < read; t++) {
            int32_t j = all ? t : touched[t];
            if (sum[j] != 0) entries[found++] = (Entry){sum[j] * (root[i] * root[j]), j};
            sum[j] = 0;
        }
        if (found > k) {
            select_strongest(entries, found, k);
            found = k;
        }
        for (int64_t t = 0; t < found; t++) kept[t] = (Kept){entries[t].node, (float)entries[t].value};
        if (found) qsort(kept, found, sizeof *kept, by_node);
        for (int64_t t = 0; t < found; t++) {
            node[r * k + t] = kept[t].node;
            value[r * k + t] = kept[t].value;
        }
        count[r] = found;
    }
    free(sum), free(touched), free(entries), free(kept);
    return 0;
}

/* A step of a walk in place of each value: the same times the root of degree[row] / degree[start + node]; 0 stays 0. */
void walk(int64_t num_rows, int64_t width, const int64_t *row, const int64_t *start, const int64_t *node,
          const double *degree, const float *value, float *out) {
    for (int64_t r = 0; r < num_rows; r++)
        for (int64_t t = r * width; t < (r + 1) * width; t++)
            out[t] = value[t] ? (float)(value[t] * sqrt(degree[row[r]] / degree[start[r] + node[t]])) : 0;
}

/* The value of each row at each of its nodes, 0 where there is none; nodes increase within a row. The steps of the search
   have no branch, since where they go cannot be guessed, and the next row is fetched meanwhile. */
void look_up(int64_t num_rows, int64_t width, const int64_t *row, const int64_t *node, const int64_t *indptr,
             const int32_t *indices, const float *value, float *out) {
    for (int64_t r = 0; r < num_rows; r++) {
        const int32_t *first = indices + indptr[row[r]];
        int64_t all = indptr[row[r] + 1] - indptr[row[r]];
        if (r + 1 < num_rows && width > 1)
            for (int64_t t = indptr[row[r + 1]]; t < indptr[row[r + 1] + 1]; t += 16) {
                __builtin_prefetch(indices + t);
                __builtin_prefetch(value + t);
            }
        for (int64_t t = r * width; t < (r + 1) * width; t++) {
            const int32_t *at = first;
            int64_t length = all;
            for (; length > 1; length -= length / 2) at += at[length / 2] <= node[t] ? length / 2 : 0;
            out[t] = length && *at == node[t] ? value[at - indices] : 0;
        }
    }
}
