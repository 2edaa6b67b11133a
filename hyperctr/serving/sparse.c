/* A fully connected network whose weights are kept row by row without their zeros: rows of x in, a number a row out.

   One or two rows are done one by one, each unit a gathered dot product. More are turned, some vectors of them at a
   time, so that what a weight multiplies lies side by side; it stays in a core's second-level cache up to the last
   layer. */

#include <stdint.h>
#include <string.h>
#ifdef __AVX512BW__
#include <immintrin.h>
#endif
#ifdef __clang__ /* a product may go into its sum unrounded: half the instructions */
#pragma clang fp contract(fast)
#else
#pragma GCC optimize("fp-contract=fast")
#endif

#if defined __AVX512F__
#define LANES 16
#elif defined __AVX__
#define LANES 8
#else
#define LANES 4
#endif
#define INLINE static inline __attribute__((always_inline))

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t Bits __attribute__((vector_size(4 * LANES), aligned(4)));

typedef struct {
    int64_t in, out, tiles;
    const int32_t *begin;    /* [tiles + 1][out]: where a row's weights of a tile of inputs begin; they lie side by side */
    const uint16_t *indices; /* of the layer's inputs, ascending in a row */
    const float *value, *bias;
    float slope; /* y = max(y, 0) + slope * min(y, 0); 1 for no activation */
} Layer;

INLINE float activated(float y, float slope) { return y > 0 ? y : slope * y; }

#ifdef __AVX512BW__
static float dot(const float *value, const uint16_t *index, int64_t n, const float *x) {
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int64_t k = 0; k < n; k += LANES) {
        __mmask16 real = n - k < LANES ? (1 << (n - k)) - 1 : 0xffff;
        __m512i at = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(real, index + k));
        __m512 found = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), real, at, x, 4);
        __m512 *to = &sum[k / LANES % 2];
        *to = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(real, value + k), found, *to);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(sum[0], sum[1]));
}
#else
static float dot(const float *value, const uint16_t *index, int64_t n, const float *x) {
    float sum[4] = {0}; /* in four chains: an addition need not wait for the one before */
    int64_t k = 0;
    for (; k + 4 <= n; k += 4)
        for (int c = 0; c < 4; c++) sum[c] += value[k + c] * x[index[k + c]];
    for (; k < n; k++) sum[0] += value[k] * x[index[k]];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}
#endif

static void one_row(const Layer *layer, const float *x, float *y) {
    for (int64_t i = 0; i < layer->out; i++) {
        int64_t first = layer->begin[i], count = layer->begin[layer->tiles * layer->out + i] - first;
        y[i] = activated(dot(layer->value + first, layer->indices + first, count, x) + layer->bias[i], layer->slope);
    }
}

INLINE void store(const Layer *layer, int64_t i, Vector sum, Vector *y) {
    sum += layer->bias[i];
    Bits above = sum > 0;
    *y = (Vector)((above & (Bits)sum) | (~above & (Bits)(sum * layer->slope)));
}

/* x is [in][LANES], y [out][LANES]; a sum in four chains: an addition need not wait for the one before */
static void one_vector(const Layer *layer, const Vector *restrict x, Vector *restrict y) {
    const float *value = layer->value;
    const uint16_t *index = layer->indices;
    for (int64_t i = 0; i < layer->out; i++) {
        Vector a = {0}, b = {0}, c = {0}, d = {0};
        int64_t k = layer->begin[i], end = layer->begin[layer->tiles * layer->out + i];
        for (; k + 4 <= end; k += 4) {
            a += value[k] * x[index[k]];
            b += value[k + 1] * x[index[k + 1]];
            c += value[k + 2] * x[index[k + 2]];
            d += value[k + 3] * x[index[k + 3]];
        }
        for (; k < end; k++) a += value[k] * x[index[k]];
        store(layer, i, (a + b) + (c + d), y + i);
    }
}

/* x is [in][4][LANES], y [out][4][LANES]; a tile of x stays in the first-level cache for all rows, sums wait in y */
static void four_vectors(const Layer *layer, const Vector *restrict x, Vector *restrict y) {
    for (int64_t t = 0; t < layer->tiles; t++) {
        const int32_t *begin = layer->begin + t * layer->out, *end = begin + layer->out;
        for (int64_t i = 0; i < layer->out; i++) {
            Vector *sum = y + 4 * i, zero = {0};
            Vector a = t ? sum[0] : zero, b = t ? sum[1] : zero, c = t ? sum[2] : zero, d = t ? sum[3] : zero;
            for (int64_t k = begin[i]; k < end[i]; k++) {
                const Vector *at = x + 4 * (int64_t)layer->indices[k];
                float value = layer->value[k];
                a += value * at[0];
                b += value * at[1];
                c += value * at[2];
                d += value * at[3];
            }
            sum[0] = a, sum[1] = b, sum[2] = c, sum[3] = d;
            if (t + 1 == layer->tiles)
                for (int v = 0; v < 4; v++) store(layer, i, sum[v], sum + v);
        }
    }
}

/* x[r][k] to turned[k][r], for r < lanes; rows from `left` on are zero */
INLINE void turn(const float *x, int64_t in, int64_t left, int64_t lanes, float *turned) {
    for (int64_t first = 0; first < in; first += LANES) { /* tiles: both sides stay in the first-level cache */
        int64_t end = first + LANES < in ? first + LANES : in;
        for (int64_t r = 0; r < lanes; r++)
            for (int64_t k = first; k < end; k++) turned[k * lanes + r] = r < left ? x[r * in + k] : 0;
    }
}

/* out[r] for r < batch. The last layer has one unit. one and other hold 64 numbers for each unit of the widest layer,
   its inputs included. */
void forward(const Layer *layers, int64_t count, const float *x, int64_t batch, float *out, float *one, float *other) {
    const int64_t in = layers[0].in;
    for (int64_t r = 0, done; r < batch; r += done) {
        int64_t left = batch - r;
        done = left > 2 * LANES ? 4 * LANES : left > 2 ? LANES : 1;
        float *from = one, *to = other;
        if (done == 4 * LANES) turn(x + r * in, in, left, 4 * LANES, from);
        else if (done == LANES) turn(x + r * in, in, left, LANES, from);
        else memcpy(from, x + r * in, sizeof(float) * in);
        for (int64_t n = 0; n < count; n++) {
            if (done == 4 * LANES) four_vectors(&layers[n], (Vector *)from, (Vector *)to);
            else if (done == LANES) one_vector(&layers[n], (Vector *)from, (Vector *)to);
            else one_row(&layers[n], from, to);
            float *swap = from;
            from = to, to = swap;
        }
        memcpy(out + r, from, sizeof(float) * (left < done ? left : done));
    }
}
