/* A step of Adam with beta_1 = 0 over the rows of a table that have a gradient: RowAdam of optim.py.

   The rows are far apart in memory, so that most of a step is waiting for memory: each row is prefetched AHEAD rows
   before it is used. */

#include <math.h>
#include <stdint.h>

#define AHEAD 16
#define LINE 16 /* floats that a processor fetches at once */

static inline void fetch(const float *row, int64_t dim) {
    for (int64_t k = 0; k < dim; k += LINE)
        __builtin_prefetch(row + k, 1);
}

/* Apply the gradient g[i] to row rows[i] of table and square [., dim]. last is the step of a row's previous gradient;
   decays[k] is the decay of a second moment over k steps, for k < known. */
void step(int64_t n, int64_t dim, const int64_t *rows, const float *restrict g, float *restrict table,
          float *restrict square, int32_t *last, int32_t now, float lr, double beta2, float eps, int64_t known,
          const float *decays) {
    const float share = 1 - beta2, unbiased = 1 / (1 - pow(beta2, now));
    for (int64_t i = 0; i < n; i++) {
        if (i + AHEAD < n) {
            const int64_t next = rows[i + AHEAD];
            fetch(table + next * dim, dim);
            fetch(square + next * dim, dim);
            __builtin_prefetch(last + next, 1);
        }
        float *w = table + rows[i] * dim, *v = square + rows[i] * dim;
        const float *gradient = g + i * dim;
        const int32_t rested = now - last[rows[i]];
        const float decay = rested < known ? decays[rested] : pow(beta2, rested);
        last[rows[i]] = now;
        for (int64_t k = 0; k < dim; k++) {
            v[k] = v[k] * decay + share * gradient[k] * gradient[k];
            w[k] -= lr * gradient[k] / (sqrtf(v[k] * unbiased) + eps);
        }
    }
}
