// The past of one key, in one pass each: where the events before a moment end, and sums that decay.
// Every function gives what the plain numpy body beside its call gives.

#include <math.h>
#include <stdint.h>

enum { TOGETHER = 16, ROWS = 256, QUANTILES = 129 };  // searches side by side; rows at a time; as in scores.py

// Position of the first number not below `most` among x[start] to x[stop - 1], ascending, else `stop`: `n` searches side
// by side, at most TOGETHER, so that they wait for memory together. Where a search goes cannot be guessed, so its steps
// have no branch.
static inline void find(int64_t n, const int64_t *x, const int64_t *start, const int64_t *stop, const int64_t *most,
                        int64_t *found) {
    int64_t length[TOGETHER], longest = 0;
    for (int64_t i = 0; i < n; i++) {
        found[i] = start[i];
        length[i] = stop[i] - start[i];
        longest = length[i] > longest ? length[i] : longest;
    }
    for (; longest > 1; longest -= longest / 2)
        for (int64_t i = 0; i < n; i++) {
            int64_t half = length[i] / 2, last = half ? found[i] + half - 1 : 0;
            found[i] += half && x[last] < most[i] ? half : 0;
            length[i] -= half;
        }
    for (int64_t i = 0; i < n; i++) found[i] += length[i] && x[found[i]] < most[i];
}

// Positions that put events in order of key, those of one key as they come; `first`, [num_keys + 2], is 0 at first.
void order(int64_t n, const int64_t *key, int64_t num_keys, int64_t *first, int64_t *found) {
    for (int64_t i = 0; i < n; i++) first[key[i] + 1]++;
    for (int64_t k = 0; k < num_keys; k++) first[k + 1] += first[k];
    first[num_keys + 1] = n;
    for (int64_t i = 0; i < n; i++) found[first[key[i]]++] = i;
    for (int64_t k = num_keys; k > 0; k--) first[k] = first[k - 1];
    first[0] = 0;
}

// Position after the last event of each key strictly before its time; events are sorted by key and time.
void end(int64_t n, const int64_t *key, const int64_t *time, int64_t num_keys, const int64_t *first,
         const int64_t *times, int64_t *found) {
    int64_t start[TOGETHER], stop[TOGETHER];
    for (int64_t i = 0; i < n; i += TOGETHER) {
        int64_t some = n - i < TOGETHER ? n - i : TOGETHER;
        for (int64_t j = 0; j < some; j++) {
            int64_t k = key[i + j] >= 0 && key[i + j] < num_keys ? key[i + j] : num_keys;
            start[j] = first[k];
            stop[j] = first[k + 1];
        }
        find(some, times, start, stop, time + i, found + i);
    }
}

// Sums of `width` values of a key up to each event, the sum of the events before it times its `fade`: those of one
// half-life h among [n, width, lives], whose rows are `step` apart. `starts` marks a key's first event.
void decayed(int64_t n, int64_t width, const uint8_t *starts, const double *fade, const double *value, int64_t h,
             int64_t lives, int64_t step, double *found) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t v = 0; v < width; v++) {
            double *sum = found + i * step + v * lives + h;
            *sum = value[i * width + v] + (starts[i] ? 0.0 : sum[-step] * fade[i]);
        }
}

// Counts of each key strictly before its time, and the decayed sums of its last event.
// `events` has, of the key's events up to each, the clicks, the time of the last click (NAN without one), and decayed
// sums of shows and clicks, [m, 2 + 2 lives]: what is read of an event lies side by side. Found: `end`, shows and clicks,
// whole numbers, [3, n]; time since the last event, the first one and the last click, and the sums [3 + 2 lives, n].
void before(int64_t n, const int64_t *key, const int64_t *time, int64_t num_keys, const int64_t *first,
            const int64_t *times, const double *events, int64_t lives, int64_t *counts, double *since) {
    end(n, key, time, num_keys, first, times, counts);
    for (int64_t i = 0; i < n; i++) {
        int64_t start = first[key[i] >= 0 && key[i] < num_keys ? key[i] : num_keys], end = counts[i];
        const double *event = events + (end - 1) * (2 + 2 * lives);
        int some = end > start;
        counts[n + i] = end - start;
        counts[2 * n + i] = some ? (int64_t)event[0] : 0;
        since[i] = some ? (double)(time[i] - times[end - 1]) : NAN;
        since[n + i] = some ? (double)(time[i] - times[start]) : NAN;
        since[2 * n + i] = some ? (double)time[i] - event[1] : NAN;
        for (int64_t h = 0; h < 2 * lives; h++) since[(3 + h) * n + i] = some ? event[2 + h] : 0.0;
    }
}

// Place of each pair in a vocabulary, ascending: that of side * size + other; `many` where it is not there, and -1
// where the pair is -1. The pairs of a side are from first[side] to first[side + 1].
void place(int64_t n, const int64_t *pair, int64_t size, int64_t sides, const int64_t *first,
           const int64_t *vocabulary, int64_t many, int64_t *found) {
    int64_t start[TOGETHER], stop[TOGETHER];
    for (int64_t i = 0; i < n; i += TOGETHER) {
        int64_t some = n - i < TOGETHER ? n - i : TOGETHER;
        for (int64_t j = 0; j < some; j++) {
            int64_t side = pair[i + j] < 0 ? sides : pair[i + j] / size;
            start[j] = side < sides ? first[side] : 0;
            stop[j] = side < sides ? first[side + 1] : 0;
        }
        find(some, vocabulary, start, stop, pair + i, found + i);
        for (int64_t j = i; j < i + some; j++)
            found[j] = pair[j] == -1 ? -1 : found[j] < many && vocabulary[found[j]] == pair[j] ? found[j] : many;
    }
}

// Normal scores of numbers [n, width], whose columns are `n` apart and rows next to each other: between the two
// values beside a number, as between their scores. Values and scores are [width, QUANTILES], the former ascending.
void scores(int64_t n, int64_t width, const double *x, const double *values, const double *scores, float *found) {
    for (int64_t first = 0; first < n; first += ROWS)
        for (int64_t c = 0; c < width; c++) {
            const double *value = values + c * QUANTILES, *score = scores + c * QUANTILES, *column = x + c * n;
            for (int64_t i = first; i < n && i < first + ROWS; i++) {
                double own = column[i];
                int64_t low = 0;  // the last value at most `own`, or the first; without branches
#pragma GCC unroll 8
                for (int64_t step = QUANTILES / 2; step; step /= 2) low += (value[low + step] <= own) * step;
                low += value[low + 1] <= own;
                int64_t high = low < QUANTILES - 1 ? low + 1 : low;
                double start = value[low], gap = value[high] - start, over = own - start;
                gap = gap > 0 ? gap : 1.0;
                over = over > 0 ? over : 0.0;
                double z = score[low] + over / gap * (score[high] - score[low]);
                found[i * width + c] = own == own ? (float)z : NAN;
            }
        }
}

// The items of the last events of a key, the latest first, [n, length]; 0 where there are fewer. `end` as above.
void latest(int64_t n, const int64_t *end, const int64_t *count, int64_t length, const int64_t *item, int64_t *found) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t t = 0; t < length; t++) found[i * length + t] = t < count[i] ? item[end[i] - 1 - t] : 0;
}

static float dot(const float *a, const float *b, int64_t d) {
    float lane[8] = {0}, sum = 0;
    int64_t k = 0;
    for (; k + 8 <= d; k += 8)
        for (int64_t l = 0; l < 8; l++) lane[l] += a[k + l] * b[k + l];
    for (; k < d; k++) lane[k % 8] += a[k] * b[k];
    for (int64_t l = 0; l < 8; l++) sum += lane[l];
    return sum;
}

// Cosines of each row's item with the sums of its query's first `most` clicks, [spans, n]; NAN where one is zero.
// `clicked` is [queries, length]; vectors are of length 1 or 0, [., d]; `sum` has room for spans x (d + 1).
void cosines(int64_t n, const int64_t *item, const int64_t *query, int64_t length, const int64_t *clicked,
            const int64_t *count, int64_t d, const float *vectors, int64_t spans, const int64_t *most, float *sum, double *found) {
    float *norm = sum + spans * d;
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || query[i] != query[i - 1]) {
            const int64_t *click = clicked + query[i] * length;
            for (int64_t s = 0, t = 0; s < spans; s++) {
                for (int64_t k = 0; k < d; k++) sum[s * d + k] = s ? sum[(s - 1) * d + k] : 0;
                for (; t < most[s] && t < count[query[i]]; t++)
                    for (int64_t k = 0; k < d; k++) sum[s * d + k] += vectors[click[t] * d + k];
                norm[s] = sqrtf(dot(sum + s * d, sum + s * d, d));
            }
        }
        const float *own = vectors + item[i] * d;
        int some = dot(own, own, d) > 0;
        for (int64_t s = 0; s < spans; s++)
            found[s * n + i] = some && norm[s] > 0 ? dot(own, sum + s * d, d) / norm[s] : NAN;
    }
}

// Of the first `count` entries of each row of [n, length]: the first, the sums of 3, 10 and all, the largest and the
// mean, [6, n]; NAN without an entry.
void summed(int64_t n, int64_t length, const float *entry, const int64_t *count, double *found) {
    for (int64_t i = 0; i < n; i++) {
        const float *x = entry + i * length;
        double total = 0, most = -INFINITY, part[3] = {0};
        for (int64_t t = 0; t < count[i]; t++) {
            total += x[t];
            most = x[t] > most ? x[t] : most;
            if (t == 0) part[0] = total;
            if (t < 3) part[1] = total;
            if (t < 10) part[2] = total;
        }
        double each[6] = {part[0], part[1], part[2], total, most, total / count[i]};
        for (int64_t s = 0; s < 6; s++) found[s * n + i] = count[i] ? each[s] : NAN;
    }
}
