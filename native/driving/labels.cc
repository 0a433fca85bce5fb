#include "labels.h"

#include <algorithm>
#include <limits>

namespace driving {
namespace {

constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
constexpr int64_t kFarthest = metres(60);
constexpr int64_t kWidest = metres(11);
// A thing is in a lane where so much of its width is, or all of it.
constexpr int64_t kInLane = metres(0, 300);

float in_metres(int64_t length) { return static_cast<float>(length) / static_cast<float>(kMetre); }

// The distance along the road to the nearest point of what stands in a lane.
float ahead(const Scene& scene, const std::vector<Seen>& seen, int pixels, int lane) {
  if (lane < 0 || lane >= scene.lanes) return kNone;
  int64_t nearest = kFarthest + 1;
  for (size_t i = 0; i < scene.things.size(); ++i) {
    const Thing& thing = scene.things[i];
    if (!is_visible(scene, thing, seen[i], pixels)) continue;
    int64_t left = std::numeric_limits<int64_t>::max();
    int64_t right = std::numeric_limits<int64_t>::min();
    int64_t near = left;
    int64_t far = right;
    for (const Point& corner : footprint(scene, thing)) {
      const int64_t t = corner.x - scene.middle(corner.y);
      left = std::min(left, t);
      right = std::max(right, t);
      near = std::min(near, corner.y);
      far = std::max(far, corner.y);
    }
    const int64_t inside = std::min(right, scene.edge(lane + 1)) - std::max(left, scene.edge(lane));
    if (far <= 0 || inside < std::min(kInLane, right - left)) continue;
    nearest = std::min(nearest, std::max<int64_t>(near, 0));
  }
  return nearest > kFarthest ? kNone : in_metres(nearest);
}

}  // namespace

bool is_visible(const Scene& scene, const Thing& thing, const Seen& seen, int pixels) {
  if (thing.y > scene.visibility) return false;
  return seen.visible * kLeastShare >= seen.whole && int64_t{seen.visible} * 10000 >= int64_t{kLeastPixels} * pixels;
}

void label(const Scene& scene, const std::vector<Seen>& seen, int pixels, float* out) {
  out[0] = static_cast<float>(scene.heading) * 360.0f / static_cast<float>(kTurn);
  for (int side = -1; side <= 1; ++side) out[2 + side] = ahead(scene, seen, pixels, scene.own_lane + side);
  for (int line = -1; line <= 2; ++line) {
    const int edge = scene.own_lane + line;
    const int64_t distance = std::abs(scene.edge(edge) - scene.camera_t);
    const bool there = edge >= 0 && edge <= scene.lanes && scene.markings != kMissing && distance <= kWidest;
    out[5 + line] = there ? in_metres(distance) : kNone;
  }
}

const std::vector<std::string>& strata_names() {
  static const std::vector<std::string> kNames = {"day",
                                                  "low_sun",
                                                  "dusk",
                                                  "night",
                                                  "clear",
                                                  "overcast",
                                                  "rain",
                                                  "fog",
                                                  "straight",
                                                  "curve",
                                                  "hill",
                                                  "markings_good",
                                                  "markings_faded",
                                                  "markings_missing",
                                                  "view_far",
                                                  "view_short",
                                                  "common",
                                                  "stalled_car",
                                                  "hard_braking",
                                                  "cut_in",
                                                  "crossing_trailer",
                                                  "pedestrian",
                                                  "debris",
                                                  "shifted_lanes",
                                                  "car_behind_crest",
                                                  "wrong_way_car",
                                                  "truck_hides_car",
                                                  "ahead_none",
                                                  "ahead_near",
                                                  "ahead_middle",
                                                  "ahead_far"};
  return kNames;
}

void stratify(const Scene& scene, const std::vector<Seen>& seen, int pixels, const float* labels, bool* out) {
  const auto put = [&out](bool value) { *out++ = value; };
  // The sun blinds nobody through clouds.
  const Time time = scene.time == kLowSun && scene.weather != kClear ? kDay : scene.time;
  for (int one = 0; one < kTimes; ++one) put(time == one);
  for (int weather = 0; weather < kWeathers; ++weather) put(scene.weather == weather);
  // A curve is one of less than 1,000 m radius 30 m ahead.
  const int64_t bend = std::abs(scene.bend + (3 * scene.twist * metres(30) >> 20));
  const bool curved = bend * 1000 > 33554432;
  put(!curved);
  put(curved);
  put(scene.rise != 0);
  put(scene.markings == kDashed || scene.markings == kSolid);
  put(scene.markings == kFaded);
  put(scene.markings == kMissing);
  put(scene.visibility >= metres(150));
  put(scene.visibility < metres(150));
  // A scene in which an event takes place is of its stratum only where it can be seen, and then of no common case.
  bool none = true;
  std::array<bool, kEvents> shown{};
  for (size_t event = 0; event < kEvents; ++event) {
    none = none && !scene.events[event];
    shown[event] = event == kShiftedLanes && scene.events[event];
    for (size_t i = 0; i < scene.things.size(); ++i) {
      const Thing& thing = scene.things[i];
      if (thing.event == static_cast<int>(event)) shown[event] |= is_visible(scene, thing, seen[i], pixels);
    }
  }
  put(none);
  for (const bool event : shown) put(event);
  const float own = labels[2];
  put(!(own <= 60));
  put(own < 20);
  put(own >= 20 && own < 40);
  put(own >= 40);
}

}  // namespace driving
