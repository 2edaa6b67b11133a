/* A step of Adam with beta_1 = 0 over the rows of a table that have a gradient: RowAdam of optim.py.

   The rows lie nowhere near each other, so that a step waits for memory most of all: each is asked for AHEAD rows before
   it is its turn. */

#include <math.h>
#include <stdint.h>

#define AHEAD 16
#define LINE 16 /* floats that a processor fetches at once */

static inline void fetch(const float *row, int64_t dim) {
    for (int64_t k = 0; k < dim; k += LINE)
        __builtin_prefetch(row + k, 1);
}

/* Row rows[i] of table and square [., dim] takes the gradient g[i]; last is the step of a row's previous gradient, and
   fades[k] what k steps leave of a mean square, for k < known. */
void step(int64_t n, int64_t dim, const int64_t *rows, const float *restrict g, float *restrict table,
          float *restrict square, int32_t *last, int32_t now, float lr, double beta2, float eps, int64_t known,
          const float *fades) {
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
        const float fade = rested < known ? fades[rested] : pow(beta2, rested);
        last[rows[i]] = now;
        for (int64_t k = 0; k < dim; k++) {
            v[k] = v[k] * fade + share * gradient[k] * gradient[k];
            w[k] -= lr * gradient[k] / (sqrtf(v[k] * unbiased) + eps);
        }
    }
}
