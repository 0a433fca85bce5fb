// A scene: a road, a car that looks along it, what else is on it and beside it, weather and light. All in integers.
//
// The road's own coordinates are y, metres ahead along the road's direction where the camera stands, and t, metres to
// the right of the road's middle at that y. The middle runs at x = (bend + twist y) y^2; lanes are shifted sideways
// from it. Hills rise along the camera's axis, so that a row of a frame shows the ground at one depth.

#ifndef DRIVING_SCENE_H_
#define DRIVING_SCENE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "fixed.h"

namespace driving {

enum Event {
  kStalledCar,
  kHardBraking,
  kCutIn,
  kCrossingTrailer,
  kPedestrian,
  kDebris,
  kShiftedLanes,
  kCarBehindCrest,
  kWrongWayCar,
  kTruckHidesCar,
  kEvents
};
enum Time { kDay, kLowSun, kDusk, kNight, kTimes };
enum Weather { kClear, kOvercast, kRain, kFog, kWeathers };
enum Markings { kDashed, kSolid, kFaded, kMissing, kMarkings };
enum Roadside { kOpen, kTrees, kBuildings, kBarriers, kRoadsides };
enum Kind { kCar, kTruck, kTrailer, kPerson, kRubble, kKinds };

// What scenes are drawn from: weights of choices, and ranges as (lowest, highest). Python fills it in by name.
struct Recipe {
  int32_t lanes[4];
  int32_t curve[3];
  int32_t curvature[6];   // 1e-6 / m, for each of the three curves
  int32_t slope[3];       // flat, uphill, downhill
  int32_t gradient[2];    // per thousand
  int32_t lane_width[2];  // mm
  int32_t shoulder[2];    // mm
  int32_t markings[kMarkings];
  int32_t time[kTimes];
  int32_t sun[3];  // ahead, to a side, behind
  int32_t weather[kWeathers];
  int32_t visibility[2];  // m, in fog
  int32_t offset[1];      // mm, the most to either side
  int32_t heading[1];     // 1/100 degree, the most to either side
  int32_t traffic[2];     // vehicles on a kilometre of lane
  int32_t ahead[5];       // the car ahead: as traffic has it, none within 60 m, near, middle, far
  int32_t vehicles[3];    // car, truck, trailer
  int32_t colours[4];     // mixed, bright, dark, white
  int32_t roadside[kRoadsides];
  int32_t events[kEvents];  // per 100,000 scenes
};
constexpr size_t kRecipeInts = sizeof(Recipe) / sizeof(int32_t);
// Names and sizes of its parts, in their order.
const std::vector<std::pair<std::string, int>>& recipe_parts();

struct Colour {
  int16_t r, g, b;
};

// Something that stands or drives on the road.
struct Thing {
  Kind kind;
  int64_t t, y;  // of the middle of its footprint
  int64_t turn;  // clockwise, from the road's direction at its y; parts of a turn
  int64_t length, width, height;
  Colour colour;
  int model;  // one of the shapes of its kind
  bool brakes, hazard, indicates, oncoming, sky_coloured;
  int event;  // kEvents: of none
};

struct Point {
  int64_t x, y;
};

struct Scene {
  uint64_t seed;
  bool driven;    // one of a drive's: what is beside the road and on it stays in its place along the road
  int64_t along;  // how far the camera has come on it; 0 for one that stands alone
  bool other_look;
  int lanes, own_lane;
  int64_t lane_width, shoulder[2];
  int64_t bend, twist;    // see middle()
  int64_t rise, rise_to;  // see height()
  int64_t shift;          // of the lanes, at roadworks
  Markings markings;
  int64_t camera_t, camera_height, heading;
  Time time;
  int64_t sun_bearing, sun_height;  // from the camera's axis, clockwise; above the horizon: parts of a turn
  Weather weather;
  int64_t visibility;  // metres at which 1/20 of the contrast is left
  Roadside roadside;
  std::array<bool, kEvents> events;
  std::vector<Thing> things;

  // t of the lane's left edge; of lane `lanes`, of the last lane's right edge.
  int64_t edge(int lane) const { return lane * lane_width - lanes * lane_width / 2 + shift; }
  // x of the road's middle: (bend + twist y 2^-20) y^2 2^-36.
  int64_t middle(int64_t y) const {
    const int64_t to = clamp(y, -metres(100), metres(400));
    return ((bend + (twist * to >> 20)) * (to * to >> 4)) >> 32;
  }
  // The ground's height at a depth ahead of the camera: rise depth^2 2^-36, from rise_to on the parabola's tangent.
  int64_t height(int64_t depth) const {
    const int64_t to = clamp(depth, 0, rise_to);
    const int64_t beyond = clamp(depth, rise_to, metres(400)) - rise_to;
    return (rise * (to * to >> 4) >> 32) + (2 * rise * rise_to * beyond >> 36);
  }
  Scene mirrored() const;
};

// Corners of a thing's footprint in the road's frame at the camera: x to the right of the road's middle there, y ahead.
std::array<Point, 4> footprint(const Scene& scene, const Thing& thing);
// The direction of something that is turned from the road's by `turn` at y, as (sine, cosine) of the angle from y.
Point direction(const Scene& scene, int64_t y, int64_t turn);

// The scene of a seed; `other_look`: of other roads, shapes and colours than all that is trained in.
Scene sample(const Recipe& recipe, uint64_t seed, bool other_look);

}  // namespace driving

#endif  // DRIVING_SCENE_H_
