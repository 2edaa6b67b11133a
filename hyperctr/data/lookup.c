// The past of one key, in one pass each: where the events before a moment end, and sums that decay.
// Every function gives what the plain numpy body beside its call gives.

#include <math.h>
#include <stdint.h>

// Position after the last event of each key strictly before its time; events are sorted by key and time.
void end(int64_t n, const int64_t *key, const int64_t *time, int64_t num_keys, const int64_t *first,
         const int64_t *times, int64_t *found) {
    for (int64_t i = 0; i < n; i++) {
        int64_t k = key[i] < num_keys ? key[i] : num_keys;
        int64_t low = first[k], high = first[k + 1];
        while (low < high) {
            int64_t middle = low + (high - low) / 2;
            if (times[middle] < time[i]) low = middle + 1; else high = middle;
        }
        found[i] = low;
    }
}

// Sum of the values of a key up to each event, each halved per half-life of its age; `starts` marks a key's first event.
void decayed(int64_t n, const uint8_t *starts, const int64_t *times, const double *value, double half_life,
             double *found) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum = starts[i] ? 0.0 : sum * exp2(-(double)(times[i] - times[i - 1]) / half_life);
        found[i] = sum += value[i];
    }
}
