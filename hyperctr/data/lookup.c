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

// Counts of each key strictly before its time, and the decayed sums of its last event, faded to that time.
// `clicks` and `last_click` are over the events before each position, [m + 1]; decayed sums [lives, m].
// Found: shows, clicks [n]; recent shows and clicks [lives, n]; time since the last, first and last clicked event [n].
void before(int64_t n, const int64_t *key, const int64_t *time, int64_t num_keys, const int64_t *first,
            const int64_t *times, int64_t m, const int64_t *clicks, const int64_t *last_click, int64_t lives,
            const double *half_life, const double *shows_decayed, const double *clicks_decayed, int64_t *found_shows,
            int64_t *found_clicks, double *recent_shows, double *recent_clicks, double *since_last,
            double *since_first, double *since_click) {
    for (int64_t i = 0; i < n; i++) {
        int64_t k = key[i] >= 0 && key[i] < num_keys ? key[i] : num_keys;
        int64_t start = first[k], low = start, high = first[k + 1];
        while (low < high) {
            int64_t middle = low + (high - low) / 2;
            if (times[middle] < time[i]) low = middle + 1; else high = middle;
        }
        int64_t last = low - 1, click = last_click[low];
        found_shows[i] = low - start;
        found_clicks[i] = clicks[low] - clicks[start];
        for (int64_t h = 0; h < lives; h++) {
            double fade = low > start ? exp2(-(double)(time[i] - times[last]) / half_life[h]) : 0.0;
            recent_shows[h * n + i] = low > start ? shows_decayed[h * m + last] * fade : 0.0;
            recent_clicks[h * n + i] = low > start ? clicks_decayed[h * m + last] * fade : 0.0;
        }
        since_last[i] = low > start ? (double)(time[i] - times[last]) : NAN;
        since_first[i] = low > start ? (double)(time[i] - times[start]) : NAN;
        since_click[i] = click >= start ? (double)(time[i] - times[click]) : NAN;
    }
}
