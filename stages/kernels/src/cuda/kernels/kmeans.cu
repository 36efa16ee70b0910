// Nearest centroids: a warp scores all centroids for a point by their products in TF32, and computes the distances of those that may be
// nearest. Products are never fused with sums (`build.rs`): the distances have the bits of the CPU.
#include "math.cuh"

// Four neighbouring numbers of a row, as far as there are any.
RULE Pack<float, 4> four(const float *values, int at, int count) {
    Pack<float, 4> none = {};
    return at < count ? *(const Pack<float, 4> *)(values + at) : none;
}

// The least value of a warp.
__device__ __forceinline__ float warp_min(float value) { return -warp_max(-value); }

// The squared distance of two rows in the order of operations of `distance.rs`: lane i of 64 sums the squares of the differences i,
// i + 64, …, and a tree adds the lanes. A warp works on it, each thread on the lanes i and i + 32, and every thread gets it.
__device__ __forceinline__ float row_distance(const float *a, const float *b, int dim) {
    float low = 0.0f, high = 0.0f;
    for (int i = threadIdx.x; i < dim; i += 64) {
        float difference = a[i] - b[i];
        low += difference * difference;
        if (i + 32 < dim) {
            difference = a[i + 32] - b[i + 32];
            high += difference * difference;
        }
    }
    return warp_sum(low + high);
}

// The scores v = ‖centroid‖² − 2 ⟨point, centroid⟩ of a point, and what they say about its distances as `distance.rs` computes them.
// In the terms of `neighbours.rs`, `squared` is ‖a′‖², `slack` is s, `error` is e + E.
struct Scores {
    const float *products, *norms;
    int count;
    double squared, slack, error, rounding, vanished;

    RULE float of(int centroid) const { return norms[centroid] - 2.0f * products[centroid]; }

    // What the distance to a centroid with this score is at most.
    RULE double most(float score) const {
        double root = sqrt(fmax(score + squared + slack, 0.0)) + error;
        return root * root * (1.0 + rounding) + vanished;
    }

    // The distance to a centroid with a score above this one is above `distance`.
    RULE double limit(double distance) const {
        double root = sqrt((distance + vanished) / (1.0 - rounding)) + error;
        return root * root + slack - squared;
    }

    // The first of the centroids `from`, `from` + 32, … whose score is at most this one. Numbers of centroids are exact as floats.
    RULE float next(int from, double limit) const {
        while (from < count && of(from) > limit) from += 32;
        return from < count ? (float)from : INFINITY;
    }
};

// For each point, the nearest of `count` centroids and the first of several, or, with `limits`, the lesser of its limit and the squared
// distance to the nearest. Given are the products, [points][stride] with a stride that is a multiple of four, the squared norms of the
// rounded points and centroids, bounds on the errors of the points, the largest norm and error of the centroids, and bounds on the
// relative errors of a score and of a distance. A block of 32 threads works on one point.
extern "C" __global__ void nearest_centroids(const float *products, const float *points, const float *point_norms,
                                             const float *point_errors, const float *centroids, const float *centroid_norms,
                                             unsigned *nearest, float *limits, int count, int stride, int dim, float norm,
                                             float error, float score_rounding, float distance_rounding, float vanished) {
    int point = blockIdx.x;
    Scores scores = {products + (wide)point * stride, centroid_norms, count};
    // The best score of this thread's centroids, the first centroid that has it, and the best score of the others.
    float best = INFINITY, second = INFINITY, first = INFINITY;
    int at = 4 * threadIdx.x;
    Pack<float, 4> next = four(scores.products, at, count), next_norms = four(centroid_norms, at, count);
    for (; at < count; at += 128) {
        Pack<float, 4> product = next, own_norms = next_norms;
        next = four(scores.products, at + 128, count);
        next_norms = four(centroid_norms, at + 128, count);
        UNROLL for (int v = 0; v < 4; v++) {
            float score = at + v < count ? own_norms.values[v] - 2.0f * product.values[v] : INFINITY;
            second = fminf(second, fmaxf(best, score));
            if (score < best) {
                best = score;
                first = at + v;
            }
        }
    }
    float least = warp_min(best);
    float chosen = warp_min(best == least ? first : INFINITY);
    second = warp_min(first == chosen ? second : best);

    double squared = point_norms[point], reach = sqrt(squared) + norm;
    scores.squared = squared;
    scores.slack = score_rounding * reach * reach + 4.0 * vanished;
    scores.error = (double)point_errors[point] + error;
    scores.rounding = 2.0 * distance_rounding;
    scores.vanished = vanished;
    double most = scores.most(least);
    if (limits) most = fmin(most, (double)limits[point]);
    double limit = scores.limit(most);
    if (!limits && second > limit) {
        if (threadIdx.x == 0) nearest[point] = (unsigned)chosen;
        return;
    }
    float found = INFINITY, distance = INFINITY, own = scores.next(threadIdx.x, limit);
    for (;;) {
        float candidate = warp_min(own);
        if (candidate == INFINITY) break;
        float measured = row_distance(points + (wide)point * dim, centroids + (wide)candidate * dim, dim);
        if (measured < distance) {
            distance = measured;
            found = candidate;
        }
        if (own == candidate) own = scores.next((int)candidate + 32, limit);
    }
    if (threadIdx.x == 0) {
        if (limits) limits[point] = fminf(limits[point], distance);
        else nearest[point] = (unsigned)found;
    }
}

// The squared distance of each point to its centroid. A block of 32 threads works on one point.
extern "C" __global__ void centroid_distances(const float *points, const float *centroids, const unsigned *assignments, float *distances,
                                              int dim) {
    int point = blockIdx.x;
    float distance = row_distance(points + (wide)point * dim, centroids + (wide)assignments[point] * dim, dim);
    if (threadIdx.x == 0) distances[point] = distance;
}
