#include "scenery.h"

#include <algorithm>

#include "shapes.h"

namespace driving {
namespace {

constexpr uint64_t kSceneryStream = 70;
constexpr uint64_t kDrivenStream = 1 << 20;

class Scenery {
 public:
  Scenery(const Scene& scene, const Light& light, Canvas& canvas)
      : scene_(scene), light_(light), canvas_(canvas), stream_(scene.seed, kSceneryStream) {
    // In fog, and behind what stands near, nothing is seen of what is far.
    farthest_ = std::min(metres(150), scene.visibility * 5 / 4);
  }

  void draw() {
    switch (scene_.roadside) {
      case kTrees:
        row(metres(9), [this](int side, int64_t t, int64_t y) { tree(side, t, y); });
        break;
      case kBuildings:
        row(metres(24), [this](int side, int64_t t, int64_t y) { building(side, t, y); });
        break;
      case kBarriers:
        for (const int side : {0, 1}) barrier(side);
        break;
      default:
        row(metres(45),
            [this](int side, int64_t t, int64_t y) { tree(side, t + (side == 0 ? -1 : 1) * metres(8), y); });
    }
    if (scene_.shift != 0) beacons();
  }

 private:
  // t of the outer end of the paved road.
  int64_t end(int side) const {
    const int64_t half = scene_.lanes * scene_.lane_width / 2;
    return side == 0 ? -half - scene_.shoulder[0] : half + scene_.shoulder[1];
  }
  Pose pose(int64_t t, int64_t y) const { return Pose(scene_, t, y, 0); }
  Builder builder(const Pose& at) { return Builder(light_, canvas_, at, kScenery, nullptr); }

  template <typename Put>
  void row(int64_t gap, Put put) {
    for (int side = 0; side < 2; ++side) {
      if (scene_.driven) {
        // One for each length of `gap` along the road, and a stream for each: it stays what it is as one drives by.
        const int64_t from = scene_.along - metres(4);
        for (int64_t cell = floor_div(from, gap); cell * gap < from + farthest_; ++cell) {
          stream_ = Stream(scene_.seed, kDrivenStream + 2 * static_cast<uint64_t>(cell) + static_cast<uint64_t>(side));
          beside(side, cell * gap + stream_.below(gap) - scene_.along, put);
        }
        continue;
      }
      for (int64_t y = stream_.below(gap) - metres(4); y < farthest_; y += gap / 2 + stream_.below(gap + 1)) {
        beside(side, y, put);
      }
    }
  }

  template <typename Put>
  void beside(int side, int64_t y, Put put) {
    const int64_t away = metres(3) + stream_.below(metres(9));
    put(side, end(side) + (side == 0 ? -away : away), y);
  }

  void tree(int side, int64_t t, int64_t y) {
    static_cast<void>(side);
    const Pose at = pose(t, y);
    const int64_t high = from_mm(stream_.between(4500, 10500));
    const auto shade = static_cast<int16_t>(stream_.between(-14, 14));
    const bool conifer = stream_.below(scene_.other_look ? 5 : 3) == 0;
    if (at.depth() < metres(3)) return;
    Builder made = builder(at);
    const int64_t trunk = from_mm(180);
    made.block(box(-trunk, trunk, -trunk, trunk, 0, high / 2), {74, 60, 46});
    const auto green = [&](int r, int g, int b) {
      return Colour{static_cast<int16_t>(r + shade), static_cast<int16_t>(g + shade),
                    static_cast<int16_t>(b + shade / 2)};
    };
    const Colour dark = scene_.other_look ? green(112, 98, 40) : green(38, 66, 32);
    const Colour lit = scene_.other_look ? green(146, 122, 54) : green(62, 94, 44);
    if (conifer) {
      for (const int64_t part : {2, 4, 6}) {
        const int64_t wide = high * (9 - part) / 30;
        const int64_t foot = high * part / 10;
        made.block({-wide, wide, -wide, wide, foot, -wide / 5, wide / 5, -wide / 5, wide / 5, foot + high * 36 / 100},
                   part == 4 ? lit : dark);
      }
      return;
    }
    const int64_t wide = high * stream_.between(24, 34) / 100;
    made.disc({0, trunk, high * 64 / 100}, wide, high * 34 / 100, dark);
    // Leaves in the light, towards the camera.
    made.disc({-wide / 3, -wide / 2, high * 74 / 100}, wide * 55 / 100, high * 18 / 100, lit);
    made.disc({wide / 3, -wide / 3, high * 56 / 100}, wide * 50 / 100, high * 15 / 100, lit);
  }

  void building(int side, int64_t t, int64_t y) {
    const int64_t deep = metres(5) + stream_.below(metres(6));
    const int64_t wide = metres(4) + stream_.below(metres(4));
    const int64_t floors = stream_.between(2, 6);
    const int64_t high = floors * metres(3) + metres(1);
    static constexpr Colour kWalls[] = {{168, 152, 132}, {138, 134, 130}, {150, 110, 92}, {186, 180, 168}};
    const Colour wall = kWalls[stream_.below(4)];
    const bool lit = light_.is_night && stream_.below(2) == 0;
    const Pose at = pose(t + (side == 0 ? -wide : wide), y);
    if (at.depth() < deep + metres(2)) return;
    Builder made = builder(at);
    made.block(box(-wide, wide, -deep, deep, 0, high), wall);
    const Colour glass = lit ? Colour{190, 160, 96} : Colour{52, 60, 70};
    for (int64_t floor = 0; floor < floors; ++floor) {
      const int64_t foot = floor * metres(3) + metres(1, 200);
      for (int64_t u = -wide + metres(0, 700); u < wide - metres(1, 400); u += metres(2, 400)) {
        made.patch(u, u + metres(1, 300), foot, foot + metres(1, 300), -deep, true, glass, lit);
      }
    }
  }

  // A rail on posts, or a wall of concrete, that follows the road.
  void barrier(int side) {
    const int64_t t = end(side) + (side == 0 ? -metres(0, 400) : metres(0, 400));
    const Colour steel = scene_.other_look ? Colour{150, 148, 142} : Colour{142, 148, 154};
    // Its posts stand every 3 m, so that whole ones pass by.
    for (int64_t y = -metres(4) - scene_.along % metres(3); y < farthest_;
         y += y < metres(40) ? metres(3) : metres(8)) {
      const int64_t next = y + (y < metres(40) ? metres(3) : metres(8));
      const Pose near = pose(t, y);
      const Pose far = pose(t, next);
      const int64_t foot = scene_.other_look ? 0 : metres(0, 430);
      const int64_t top = scene_.other_look ? metres(0, 850) : metres(0, 760);
      const int64_t depth = std::max<int64_t>((near.depth() + far.depth()) / 2, kNearest);
      const auto strip = [&](int64_t low, int64_t high, int64_t gain) {
        const Vertex quad[4] = {near.vertex({0, 0, low}), far.vertex({0, 0, low}), far.vertex({0, 0, high}),
                                near.vertex({0, 0, high})};
        canvas_.fill(quad, 4, light_.lit(steel, gain, depth), kScenery, nullptr);
      };
      strip(foot, (foot + top) / 2, 168);
      strip((foot + top) / 2, top, 224);
      if (!scene_.other_look && near.depth() > kNearest && y < metres(60)) {
        Builder made = builder(near);
        made.block(box(-from_mm(50), from_mm(50), -from_mm(50), from_mm(50), 0, foot), {96, 98, 100});
      }
    }
  }

  // Red and white, along the outer line on the side to which the lanes are shifted from.
  void beacons() {
    const bool left = scene_.shift > 0;
    const int64_t t = scene_.edge(left ? 0 : scene_.lanes) + (left ? -metres(0, 600) : metres(0, 600));
    for (int64_t y = metres(4) - scene_.along % metres(9); y < std::min(farthest_, metres(110)); y += metres(9)) {
      const Pose at = pose(t, y);
      if (at.depth() < metres(2)) continue;
      Builder made = builder(at);
      const int64_t half = from_mm(140);
      for (int64_t part = 0; part < 4; ++part) {
        const int64_t foot = from_mm(150 + 220 * part);
        made.block(box(-half, half, -from_mm(40), from_mm(40), foot, foot + from_mm(220)),
                   part % 2 == 0 ? Colour{236, 236, 232} : Colour{206, 44, 30});
      }
    }
  }

  const Scene& scene_;
  const Light& light_;
  Canvas& canvas_;
  Stream stream_;
  int64_t farthest_;
};

}  // namespace

void draw_scenery(const Scene& scene, const Light& light, Canvas& canvas) { Scenery(scene, light, canvas).draw(); }

}  // namespace driving
