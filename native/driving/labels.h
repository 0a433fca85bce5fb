// What is true of a frame, from its scene's geometry.

#ifndef DRIVING_LABELS_H_
#define DRIVING_LABELS_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "scene.h"

namespace driving {

// How much of a thing is in a frame: pixels of its silhouette within the frame, and those that nothing hides.
struct Seen {
  int32_t whole = 0;
  int32_t visible = 0;
};

// A thing is hidden where less than a quarter of its silhouette is visible, or fog leaves less than 1/20 of its
// contrast.
constexpr int kLeastShare = 4;
// Or where it has fewer pixels than this for each 10,000 of the frame.
constexpr int kLeastPixels = 2;

bool is_visible(const Scene& scene, const Thing& thing, const Seen& seen, int pixels);

// heading in degrees; metres to what is ahead in the left, own and right lane; metres to the markings LL, L, R, RR.
// NaN: there is none.
constexpr int kLabels = 8;
void label(const Scene& scene, const std::vector<Seen>& seen, int pixels, float* out);

const std::vector<std::string>& strata_names();
void stratify(const Scene& scene, const std::vector<Seen>& seen, int pixels, const float* labels, bool* out);

}  // namespace driving

#endif  // DRIVING_LABELS_H_
