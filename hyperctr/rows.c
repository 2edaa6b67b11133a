/* What `RowAdam` does to the rows of a table, in one pass over them; row r is the work of thread r / 16 % threads. */

#include <math.h>
#include <stdint.h>

#define AHEAD 8 /* rows that are on their way from memory meanwhile */

typedef struct {
    float *weight;         /* [rows, dim] */
    float *held;           /* [rows, 2 + 2 dim]: steps of the last gradient and the last move, mean, square */
    const double *moves;   /* [steps] */
    const int64_t *rows;   /* [count] */
    const float *gradient; /* [count, dim]; NULL: move alone */
    int64_t count, dim, step; /* step: steps taken before this call */
    float lr, eps, log_fade, log_beta1, log_beta2, own1, own2, scale1, scale2; /* own: 1 - beta; scale: 1 - beta^(step + 1) */
} Call;

typedef struct {
    void (*parallel)(void (*)(void *), void *, unsigned, unsigned);
    void (*barrier)(void);
    int (*number)(void), (*count)(void);
} Team;

typedef struct { const Call *call; const Team *team; } Shared;

static void move(const Call *c, float *restrict weight, float *restrict held) {
    const float graded = held[0], moved = held[1], step = c->step, *mean = held + 2, *square = mean + c->dim;
    if (moved == step) return;
    held[1] = step;
    if (graded == 0) return;
    float owed = c->lr * (c->moves[(int64_t)moved] * expf(c->log_fade * (moved - graded)) -
                          c->moves[c->step] * expf(c->log_fade * (step - graded)));
    float eps = c->eps * sqrtf((1 - expf(c->log_beta2 * (graded + 1))) / (1 - c->own2));
    for (int64_t j = 0; j < c->dim; j++) weight[j] -= owed * mean[j] / (sqrtf(square[j]) + eps);
}

static void update(const Call *c, float *restrict weight, float *restrict held, const float *restrict gradient) {
    float rest = c->step + 1 - held[0], fade1 = expf(c->log_beta1 * rest), fade2 = expf(c->log_beta2 * rest);
    float lr = c->lr / c->scale1, scale = 1 / c->scale2, *mean = held + 2, *square = mean + c->dim;
    held[0] = held[1] = c->step + 1;
    for (int64_t j = 0; j < c->dim; j++) {
        float m = mean[j] = fade1 * mean[j] + c->own1 * gradient[j];
        float v = square[j] = fade2 * square[j] + c->own2 * gradient[j] * gradient[j];
        weight[j] -= lr * m / (sqrtf(v * scale) + c->eps);
    }
}

static void run(const Call *c, int64_t part, int64_t parts) {
    int64_t width = 2 + 2 * c->dim;
    for (int64_t i = 0; i < c->count; i++) {
        if (i + AHEAD < c->count) {
            int64_t row = c->rows[i + AHEAD];
            for (int64_t j = 0; j < c->dim; j += 16) __builtin_prefetch(c->weight + row * c->dim + j, 1);
            for (int64_t j = 0; j < width; j += 16) __builtin_prefetch(c->held + row * width + j, 1);
        }
        int64_t row = c->rows[i];
        if (row / 16 % parts != part) continue;
        move(c, c->weight + row * c->dim, c->held + row * width);
        if (c->gradient) update(c, c->weight + row * c->dim, c->held + row * width, c->gradient + i * c->dim);
    }
}

static void run_in_team(void *argument) {
    const Shared *s = argument;
    run(s->call, s->team->number(), s->team->count());
}

void rows(const Call *call, int64_t threads, const Team *team) {
    Shared shared = {call, team};
    if (team && threads > 1) team->parallel(run_in_team, &shared, threads, 0);
    else run(call, 0, 1);
}
