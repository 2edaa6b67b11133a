/* y = left * H (middle * H^T (right * x)) in one call, for float32 and bfloat16; see native.py for when it is used.

   Columns are cut into blocks of 32, and the rows of a block are packed one after the other, so that everything that
   is read at random stays in the second-level cache of a core. There are two methods, and the shape decides between
   them:

   tiled     the longer side is cut into tiles of about 1 MB. The incidences of a row are sorted, so one cursor per row
             walks through the tiles, and both passes only read at random: sum(rows, tile).
   one pass  if a row has only a few incidences per tile, the longer side is walked once, row by row, and added at
             random into the shorter one: add(row).

   Every number is summed in one order for any number of threads, so the bits are always the same. */

#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define LANES 16
#define BLOCK 32
#define VECTORS 2
#define TILE_BYTES(half) ((half) ? 3 << 18 : 5 << 18)
#define CHAINS(half) ((half) ? 4 : 2)
#define HUGE_PAGE (1 << 21)
#define SHORT_RUN 8
#define LARGE_RESULT (8 << 20)

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint32_t Bits __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint16_t Half __attribute__((vector_size(2 * LANES), aligned(2)));
typedef struct { Vector v[VECTORS]; } Row; /* a row of a block */

typedef struct {
    int64_t rows;
    const int32_t *indptr, *indices;
    const float *value; /* NULL: ones */
} CSR;

/* The threads of torch's own OpenMP, so that they do not spin for work next to ours; all NULL: pthreads. */
typedef struct {
    void (*parallel)(void (*)(void *), void *, unsigned, unsigned);
    void (*barrier)(void);
    int (*number)(void), (*count)(void);
} Team;

typedef struct {
    CSR by_node, by_hyperedge;
    const float *left, *middle, *right; /* NULL: ones; middle is never NULL */
    const void *x;
    void *y;
    int64_t dim, blocks, groups, parts; /* group g takes blocks g, g + groups, ...; its threads split the rows */
    int64_t tile;
    int tiled, half, complete;
    char **workspace; /* one per group */
    pthread_barrier_t *barrier;
    pthread_mutex_t *start;
    const Team *team;
} Call;

typedef struct { Call *call; int64_t group, part; } Thread;

#define ROUND(v) ((Bits)(v) + 0x7fff + (((Bits)(v) >> 16) & 1)) /* its upper half is bfloat16, ties to even */

/* A row of one of our own tables, BLOCK wide: float32, or (half) pairs of bfloat16, column k + LANES above column k. */
INLINE Row load(const void *table, int64_t row, int half) {
    if (half) {
        Bits pair = ((const Bits *)table)[row];
        return (Row){{(Vector)(pair << 16), (Vector)(pair & 0xffff0000)}};
    }
    return ((const Row *)table)[row];
}

INLINE void store(void *table, int64_t row, Row r, int half) {
    if (half)
        ((Bits *)table)[row] = ROUND(r.v[0]) >> 16 | (ROUND(r.v[1]) & 0xffff0000);
    else
        ((Row *)table)[row] = r;
}

/* Columns [first, first + BLOCK) of a row of x, which is dim wide; columns it does not have are zero. */
INLINE Row fetch(const Call *c, int64_t row, int64_t first, int half) {
    int64_t width = c->dim - first < BLOCK ? c->dim - first : BLOCK, at = row * c->dim + first;
    Row r = {0};
    if (half) {
        Half part[VECTORS] = {0};
        memcpy(part, (const uint16_t *)c->x + at, width * 2);
        for (int k = 0; k < VECTORS; k++) r.v[k] = (Vector)(__builtin_convertvector(part[k], Bits) << 16);
    } else if (width == BLOCK)
        r = *(const Row *)((const float *)c->x + at);
    else
        memcpy(&r, (const float *)c->x + at, width * 4);
    return r;
}

INLINE void put(const Call *c, int64_t row, int64_t first, Row r, int half) {
    int64_t width = c->dim - first < BLOCK ? c->dim - first : BLOCK, at = row * c->dim + first;
    if (half) {
        Half part[VECTORS];
        for (int k = 0; k < VECTORS; k++) part[k] = __builtin_convertvector(ROUND(r.v[k]) >> 16, Half);
        memcpy((uint16_t *)c->y + at, part, width * 2);
    } else if (width == BLOCK)
        *(Row *)((float *)c->y + at) = r;
    else
        memcpy((float *)c->y + at, &r, width * 4);
}

INLINE Row times(Row r, float scale) {
    for (int k = 0; k < VECTORS; k++) r.v[k] *= scale;
    return r;
}

INLINE Row plus(Row a, Row b) {
    for (int k = 0; k < VECTORS; k++) a.v[k] += b.v[k];
    return a;
}

INLINE Row entry(const CSR *m, int64_t at, const void *table, int64_t first, int half) {
    Row r = load(table, m->indices[at] - first, half);
    return m->value ? times(r, m->value[at]) : r;
}

/* start + the sum of the table rows [first, last) at the columns of a row of m from *cursor on; moves the cursor past
   them. Entries are added in several chains, every fourth (or second) in one, so that additions do not wait for each
   other. */
INLINE Row sum(const CSR *m, int64_t end, int64_t *cursor, const void *table, int64_t first, int64_t last, Row start,
               int chains, int half) {
    int64_t at = *cursor;
    Row chain[4] = {start};
    if (chains > 1)
        for (; at + chains - 1 < end && m->indices[at + chains - 1] < last; at += chains) {
            chain[0] = plus(chain[0], entry(m, at, table, first, half));
            chain[1] = plus(chain[1], entry(m, at + 1, table, first, half));
            if (chains == 2) continue;
            chain[2] = plus(chain[2], entry(m, at + 2, table, first, half));
            chain[3] = plus(chain[3], entry(m, at + 3, table, first, half));
        }
    for (; at < end && m->indices[at] < last; at++) chain[0] = plus(chain[0], entry(m, at, table, first, half));
    *cursor = at;
    if (chains > 2) chain[0] = plus(chain[0], chain[2]), chain[1] = plus(chain[1], chain[3]);
    return chains > 1 ? plus(chain[0], chain[1]) : chain[0];
}

/* Add to row `to` of a float32 table the rows of a tile [first, last) of another table at its incidences up to `last`. */
INLINE void walk(const Call *c, const CSR *m, int64_t to, int64_t *cursor, const void *tile, int64_t first,
                 int64_t last, void *table, int half) {
    int64_t end = m->indptr[to + 1];
    if (*cursor == end || m->indices[*cursor] >= last) return;
    if (c->tiled)
        store(table, to, sum(m, end, cursor, tile, first, last, load(table, to, 0), CHAINS(half), half), 0);
    else /* in the order and precision of `add` */
        store(table, to, sum(m, end, cursor, tile, first, last, load(table, to, 0), 1, 0), 0);
}

INLINE Row sum_all(const CSR *m, int64_t row, const void *table, int half) {
    int64_t cursor = m->indptr[row];
    return sum(m, m->indptr[row + 1], &cursor, table, 0, INT64_MAX, (Row){0}, CHAINS(half), half);
}

/* Add r to the float32 table row of each incidence of the row. */
INLINE void add(const CSR *m, int64_t row, void *table, Row r) {
    for (int64_t at = m->indptr[row]; at < m->indptr[row + 1]; at++) {
        int64_t to = m->indices[at];
        store(table, to, plus(load(table, to, 0), m->value ? times(r, m->value[at]) : r), 0);
    }
}

/* First of the rows [from, to) that belongs to `part` of `parts` with about equally many incidences. */
static int64_t share(const CSR *m, int64_t from, int64_t to, int64_t part, int64_t parts) {
    if (part == 0 || part == parts) return part ? to : from;
    int64_t target = m->indptr[from] + (m->indptr[to] - (int64_t)m->indptr[from]) * part / parts;
    while (from < to) {
        int64_t middle = (from + to) / 2;
        if (m->indptr[middle] < target) from = middle + 1; else to = middle;
    }
    return from;
}

static void meet(const Thread *t) {
    if (t->call->parts == 1) return;
    if (t->call->team) t->call->team->barrier(); /* every group meets here equally often */
    else pthread_barrier_wait(&t->call->barrier[t->group]);
}

INLINE float scale_of(const float *scales, int64_t row) { return scales ? scales[row] : 1; }

/* One block where there are fewer nodes than hyperedges: a tile of H^T x at a time, or one row of it. */
INLINE void few_nodes(const Thread *t, int64_t first, int half) {
    const Call *c = t->call;
    const CSR *nodes = &c->by_node, *edges = &c->by_hyperedge;
    int64_t n = nodes->rows, m = edges->rows;
    char *x = c->workspace[t->group], *y = x + n * BLOCK * 4, *e = y + n * BLOCK * 4;
    int64_t *cursor = (int64_t *)(e + c->tile * BLOCK * 4);
    int64_t v0 = share(nodes, 0, n, t->part, c->parts), v1 = share(nodes, 0, n, t->part + 1, c->parts);
    for (int64_t v = v0; v < v1; v++) {
        store(x, v, times(fetch(c, v, first, half), scale_of(c->right, v)), half);
        store(y, v, (Row){0}, 0);
        cursor[v] = nodes->indptr[v];
    }
    meet(t);
    if (!c->tiled && c->parts == 1)
        for (int64_t i = 0; i < m; i++) add(edges, i, y, times(sum_all(edges, i, x, half), c->middle[i]));
    else
        for (int64_t e0 = 0; e0 < m; e0 += c->tile) {
            int64_t e1 = e0 + c->tile < m ? e0 + c->tile : m;
            int64_t from = share(edges, e0, e1, t->part, c->parts), to = share(edges, e0, e1, t->part + 1, c->parts);
            for (int64_t i = from; i < to; i++)
                store(e, i - e0, times(sum_all(edges, i, x, half), c->middle[i]), half && c->tiled);
            meet(t);
            for (int64_t v = v0; v < v1; v++) walk(c, nodes, v, &cursor[v], e, e0, e1, y, half);
            meet(t);
        }
    for (int64_t v = v0; v < v1; v++) put(c, v, first, times(load(y, v, 0), scale_of(c->left, v)), half);
    meet(t);
}

/* One block where there are fewer hyperedges than nodes: H^T x in a table, a tile of x at a time, or one row of it. */
INLINE void few_hyperedges(const Thread *t, int64_t first, int half) {
    const Call *c = t->call;
    const CSR *nodes = &c->by_node, *edges = &c->by_hyperedge;
    int64_t n = nodes->rows, m = edges->rows;
    char *e = c->workspace[t->group], *narrow = half ? e + m * BLOCK * 4 : e, *x = e + m * BLOCK * 8;
    int64_t *cursor = (int64_t *)(x + c->tile * BLOCK * 4);
    int64_t i0 = share(edges, 0, m, t->part, c->parts), i1 = share(edges, 0, m, t->part + 1, c->parts);
    for (int64_t i = i0; i < i1; i++) {
        store(e, i, (Row){0}, 0);
        cursor[i] = edges->indptr[i];
    }
    if (!c->tiled && c->parts == 1)
        for (int64_t v = 0; v < n; v++) add(nodes, v, e, times(fetch(c, v, first, half), scale_of(c->right, v)));
    else
        for (int64_t v0 = 0; v0 < n; v0 += c->tile) {
            int64_t v1 = v0 + c->tile < n ? v0 + c->tile : n;
            int64_t from = share(nodes, v0, v1, t->part, c->parts), to = share(nodes, v0, v1, t->part + 1, c->parts);
            for (int64_t v = from; v < to; v++)
                store(x, v - v0, times(fetch(c, v, first, half), scale_of(c->right, v)), half && c->tiled);
            meet(t);
            for (int64_t i = i0; i < i1; i++) walk(c, edges, i, &cursor[i], x, v0, v1, e, half);
            meet(t);
        }
    for (int64_t i = i0; i < i1; i++) store(narrow, i, times(load(e, i, 0), c->middle[i]), half);
    meet(t);
    int64_t v0 = share(nodes, 0, n, t->part, c->parts), v1 = share(nodes, 0, n, t->part + 1, c->parts);
    for (int64_t v = v0; v < v1; v++)
        put(c, v, first, times(sum_all(nodes, v, narrow, half), scale_of(c->left, v)), half);
    meet(t);
}

static void compute(const Thread *t) {
    const Call *c = t->call;
    for (int64_t block = t->group; block < c->blocks; block += c->groups) {
        int few = c->by_node.rows < c->by_hyperedge.rows;
        if (few && c->half) few_nodes(t, block * BLOCK, 1);
        else if (few) few_nodes(t, block * BLOCK, 0);
        else if (c->half) few_hyperedges(t, block * BLOCK, 1);
        else few_hyperedges(t, block * BLOCK, 0);
    }
}

static void *run(void *argument) {
    const Thread *t = argument;
    pthread_mutex_lock(t->call->start);
    pthread_mutex_unlock(t->call->start);
    if (t->call->complete) compute(t);
    return NULL;
}

static void run_in_team(void *argument) {
    Call *c = argument;
    int64_t number = c->team->number();
    Thread t = {c, number / c->parts, number % c->parts};
    if (c->team->count() == c->groups * c->parts) compute(&t);
    else if (!number) c->complete = 0;
}

static void ask_for_huge_pages(void *from, size_t bytes) {
#ifdef MADV_HUGEPAGE /* else half of the time for a large result is spent on faults of its small pages */
    uintptr_t first = ((uintptr_t)from + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE, last = (uintptr_t)from + bytes;
    if (last > first + HUGE_PAGE) madvise((void *)first, (last - first) / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#else
    (void)from, (void)bytes;
#endif
}

static int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }

/* Fills y, [nodes, dim]; nonzero when memory or threads could not be had, and y is then not complete. */
int propagate(int64_t nodes, int64_t hyperedges, int64_t dim, int64_t threads, int half, const int32_t *node_indptr,
              const int32_t *node_indices, const float *node_value, const int32_t *edge_indptr,
              const int32_t *edge_indices, const float *edge_value, const float *left, const float *middle,
              const float *right, const void *x, void *y, const Team *team) {
    int64_t blocks = (dim + BLOCK - 1) / BLOCK, groups = gcd(blocks, threads);
    int64_t tile = TILE_BYTES(half) / BLOCK / (half ? 2 : 4);
    int64_t few = nodes < hyperedges ? nodes : hyperedges, many = nodes < hyperedges ? hyperedges : nodes;
    Call c = {.by_node = {nodes, node_indptr, node_indices, node_value},
              .by_hyperedge = {hyperedges, edge_indptr, edge_indices, edge_value},
              .left = left, .middle = middle, .right = right, .x = x, .y = y, .half = half, .dim = dim,
              .blocks = blocks, .groups = groups, .parts = threads / groups, .tile = tile < many ? tile : many};
    c.tiled = node_indptr[nodes] / few / ((many + tile - 1) / tile) >= SHORT_RUN;
    size_t bytes = 4 * BLOCK * (2 * few + c.tile) + 8 * few;
    bytes = (bytes / HUGE_PAGE + 1) * HUGE_PAGE;
    char *workspace[groups];
    pthread_barrier_t barrier[groups];
    pthread_mutex_t start = PTHREAD_MUTEX_INITIALIZER;
    pthread_t handle[threads];
    Thread thread[threads];
    c.workspace = workspace, c.barrier = barrier, c.start = &start;
    int64_t had = 0, made = 1; /* thread 0 is the caller's own */
    for (; had < groups && (workspace[had] = aligned_alloc(HUGE_PAGE, bytes)); had++) {
        ask_for_huge_pages(workspace[had], bytes);
        pthread_barrier_init(&barrier[had], NULL, c.parts);
    }
    if (nodes * dim > LARGE_RESULT) ask_for_huge_pages(y, nodes * dim * (half ? 2 : 4)); /* small ones reuse memory */
    c.complete = had == groups;
    if (c.complete && team && threads > 1) {
        c.team = team;
        team->parallel(run_in_team, &c, threads, 0);
    } else {
        pthread_mutex_lock(&start); /* none starts before all exist: a barrier would wait forever */
        for (int64_t i = 0; i < threads; i++) thread[i] = (Thread){&c, i / c.parts, i % c.parts};
        while (c.complete && made < threads && !pthread_create(&handle[made], NULL, run, &thread[made])) made++;
        c.complete &= made == threads;
        pthread_mutex_unlock(&start);
        run(&thread[0]);
        while (--made > 0) pthread_join(handle[made], NULL);
    }
    while (had-- > 0) {
        pthread_barrier_destroy(&barrier[had]);
        free(workspace[had]);
    }
    return !c.complete;
}
