#include "things.h"

#include <algorithm>
#include <iterator>

#include "shapes.h"

namespace driving {
namespace {

// The convex outline, seen from above, of eight points; it has at most eight corners, and their number is returned.
int outline(Vertex (&points)[8], Vertex (&hull)[9]) {
  std::sort(std::begin(points), std::end(points), [](const Vertex& a, const Vertex& b) {
    return a.right != b.right ? a.right < b.right : a.depth < b.depth;
  });
  int count = 0;
  const auto add = [&](const Vertex& point, int least) {
    const auto turns_right = [&] {
      const Vertex& a = hull[count - 2];
      const Vertex& b = hull[count - 1];
      return (b.right - a.right) * (point.depth - a.depth) <= (b.depth - a.depth) * (point.right - a.right);
    };
    while (count > least && turns_right()) --count;
    hull[count++] = point;
  };
  for (int i = 0; i < 8; ++i) add(points[i], 1);
  const int lower = count;
  for (int i = 6; i >= 0; --i) add(points[i], lower);
  return count - 1;
}

constexpr Colour kBlack{22, 22, 24};
constexpr Colour kGlass{38, 46, 56};
constexpr Colour kTailLight{150, 16, 16};
constexpr Colour kBrakeLight{255, 40, 30};
constexpr Colour kAmber{255, 150, 20};
constexpr Colour kHeadlight{255, 250, 225};

void lamps(Builder& builder, const Thing& thing, const Light& light, int64_t half, int64_t foot, int64_t size) {
  const bool lit = thing.brakes || light.is_night;
  const Colour tail = thing.brakes ? kBrakeLight : kTailLight;
  const int64_t back = -thing.length / 2;
  for (const int64_t side : {-1, 1}) {
    const int64_t outer = side * half;
    const int64_t inner = side * (half - size);
    builder.patch(std::min(outer, inner), std::max(outer, inner), foot, foot + size * 3 / 4, back, true, tail, lit);
    const bool blinks = thing.hazard || (thing.indicates && (side > 0) == (thing.turn > 0));
    if (blinks) {
      const int64_t next = side * (half - size * 2);
      builder.patch(std::min(next, inner), std::max(next, inner), foot, foot + size * 3 / 4, back, true, kAmber, true);
    }
    builder.patch(std::min(outer, inner), std::max(outer, inner), foot, foot + size * 3 / 4, thing.length / 2, false,
                  kHeadlight, thing.oncoming || light.is_night);
  }
}

void draw_car(Builder& builder, const Thing& thing, const Light& light, bool other_look) {
  const int64_t w = thing.width / 2;
  const int64_t l = thing.length / 2;
  const int64_t h = thing.height;
  const int64_t belt = h * (thing.model == 2 ? 58 : 60) / 100;
  const int64_t foot = from_mm(200);
  // A saloon, an estate car or a van; those of the other look have steeper cabins.
  const int64_t back = thing.model == 0 ? l * 40 / 100 : thing.model == 1 ? l * 6 / 100 : l * 4 / 100;
  const int64_t slope = other_look ? l * 8 / 100 : l * 28 / 100;
  const int64_t bonnet = thing.model == 2 ? l * 26 / 100 : l * 52 / 100;
  builder.block(box(-w, w, -l, l, foot, belt), thing.colour);
  const int64_t roof = w * 82 / 100;
  builder.block({-w * 97 / 100, w * 97 / 100, -l + back, l - bonnet, belt, -roof, roof,
                 -l + back + slope / (thing.model == 0 ? 1 : 3), l - bonnet - slope, h},
                thing.colour);
  const int64_t glass_foot = belt + (h - belt) * 12 / 100;
  const int64_t glass_top = belt + (h - belt) * 84 / 100;
  builder.patch(-w * 80 / 100, w * 80 / 100, glass_foot, glass_top, -l + back, true, kGlass, false);
  builder.patch(-w * 80 / 100, w * 80 / 100, glass_foot, glass_top, l - bonnet, false, kGlass, false);
  // The side windows stand out a little from the cabin.
  const int64_t glass = roof + (w * 97 / 100 - roof) / 2 + from_mm(60);
  builder.block({-glass, glass, -l + back + l * 16 / 100, l - bonnet - l * 14 / 100, glass_foot, -roof - from_mm(20),
                 roof + from_mm(20), -l + back + l * 22 / 100, l - bonnet - slope, glass_top},
                kGlass);
  for (const int64_t side : {-1, 1}) {
    for (const int64_t axle : {-l * 62 / 100, l * 62 / 100}) {
      const int64_t out = side * (w + from_mm(10));
      const int64_t in = side * (w - from_mm(180));
      builder.block(
          box(std::min(in, out), std::max(in, out), axle - from_mm(300), axle + from_mm(300), 0, from_mm(560)), kBlack);
    }
  }
  builder.patch(-w * 92 / 100, w * 92 / 100, foot, foot + from_mm(180), -l, true, kBlack, false);
  builder.patch(-from_mm(260), from_mm(260), from_mm(480), from_mm(590), -l, true, {225, 225, 215}, false);
  lamps(builder, thing, light, w * 96 / 100, belt - from_mm(210), from_mm(250));
}

// `body` draws what has the thing's own colour.
void draw_truck(Builder& body, Builder& builder, const Thing& thing, const Light& light, bool other_look) {
  const int64_t w = thing.width / 2;
  const int64_t l = thing.length / 2;
  const int64_t floor = from_mm(1050);
  const int64_t cab = thing.sky_coloured ? 0 : from_mm(2200);
  body.block(box(-w, w, -l, l - cab - (cab != 0 ? from_mm(400) : 0), floor, thing.height), thing.colour);
  if (cab != 0) {
    const Colour own = other_look ? Colour{190, 150, 60} : Colour{70, 80, 110};
    builder.block(box(-w, w, l - cab, l, from_mm(500), std::min(thing.height, from_mm(3000))), own);
    builder.patch(-w * 90 / 100, w * 90 / 100, from_mm(1700), from_mm(2600), l, false, kGlass, false);
  }
  for (const int64_t side : {-1, 1}) {
    for (const int64_t axle : {-l * 80 / 100, -l * 60 / 100, l * 70 / 100}) {
      const int64_t out = side * w;
      const int64_t in = side * (w - from_mm(350));
      builder.block(
          box(std::min(in, out), std::max(in, out), axle - from_mm(480), axle + from_mm(480), 0, from_mm(960)), kBlack);
    }
  }
  // The bar under the back, and a seam between the doors.
  builder.block(box(-w * 90 / 100, w * 90 / 100, -l, -l + from_mm(150), from_mm(450), from_mm(620)), kBlack);
  builder.patch(-from_mm(25), from_mm(25), floor, thing.height - from_mm(100), -l, true, kBlack, false);
  lamps(builder, thing, light, w * 94 / 100, floor - from_mm(320), from_mm(300));
}

void draw_person(Builder& builder, const Thing& thing) {
  const int64_t w = thing.width / 2;
  const int64_t l = thing.length / 2;
  const int64_t h = thing.height;
  for (const int64_t side : {-1, 1}) {  // a stride
    const int64_t leg = side * l * 55 / 100;
    builder.block({side < 0 ? -w : 0, side < 0 ? 0 : w, leg - from_mm(90), leg + from_mm(90), 0, side < 0 ? -w : 0,
                   side < 0 ? 0 : w, -from_mm(90), from_mm(90), h * 48 / 100},
                  {40, 44, 66});
  }
  builder.block({-w, w, -l * 60 / 100, l * 60 / 100, h * 46 / 100, -w * 90 / 100, w * 90 / 100, -l * 50 / 100,
                 l * 50 / 100, h * 84 / 100},
                thing.colour);
  builder.block(box(-from_mm(85), from_mm(85), -from_mm(95), from_mm(95), h * 86 / 100, h), {214, 168, 140});
}

void draw_rubble(Builder& builder, const Thing& thing) {
  const int64_t w = thing.width / 2;
  const int64_t l = thing.length / 2;
  static constexpr Colour kColours[] = {{120, 84, 50}, {60, 60, 62}, {150, 140, 120}};
  builder.block({-w, w, -l, l, 0, -w * 80 / 100, w * 70 / 100, -l * 75 / 100, l * 85 / 100, thing.height},
                kColours[thing.model]);
}

}  // namespace

void draw_shadows(const Scene& scene, const Light& light, Canvas& canvas) {
  // What the sun casts: away from it, as long as a thing is high over the tangent of the sun's height.
  const int64_t low = std::max<int64_t>(sine(scene.sun_height), 1);
  for (const Thing& thing : scene.things) {
    const Pose pose(scene, thing.t, thing.y, thing.turn);
    const int64_t w = thing.width / 2 + from_mm(80);
    const int64_t l = thing.length / 2 + from_mm(80);
    const Vertex foot[4] = {pose.vertex({-w, -l, 0}), pose.vertex({w, -l, 0}), pose.vertex({w, l, 0}),
                            pose.vertex({-w, l, 0})};
    const int64_t clear = light.clearness(std::max<int64_t>(pose.depth(), 0));
    canvas.shade(foot, 4, static_cast<int>(256 - 100 * clear / 65536));
    if (!light.sunny) continue;
    const int64_t length = std::min(thing.height * cosine(scene.sun_height) / low, metres(12));
    const int64_t right = -length * sine(scene.sun_bearing) >> kTrigBits;
    const int64_t ahead = -length * cosine(scene.sun_bearing) >> kTrigBits;
    Vertex both[8];
    for (size_t i = 0; i < 4; ++i) {
      both[i] = foot[i];
      const int64_t depth = foot[i].depth + ahead;
      both[4 + i] = {foot[i].right + right, depth, scene.height(depth) - scene.camera_height};
    }
    Vertex hull[9];
    canvas.shade(hull, outline(both, hull), static_cast<int>(256 - 84 * clear / 65536));
  }
}

void draw_things(const Scene& scene, const Light& light, Canvas& canvas, std::vector<Seen>& seen) {
  seen.assign(scene.things.size(), Seen{});
  for (size_t i = 0; i < scene.things.size(); ++i) {
    const Thing& thing = scene.things[i];
    const Pose pose(scene, thing.t, thing.y, thing.turn);
    if (pose.depth() + thing.length + thing.width < kNearest) continue;  // wholly behind the camera
    Builder builder(light, canvas, pose, static_cast<uint8_t>(i + 1), &seen[i]);
    Builder body(light, canvas, pose, static_cast<uint8_t>(i + 1), &seen[i], thing.sky_coloured);
    switch (thing.kind) {
      case kCar:
        draw_car(builder, thing, light, scene.other_look);
        break;
      case kPerson:
        draw_person(builder, thing);
        break;
      case kRubble:
        draw_rubble(builder, thing);
        break;
      default:
        draw_truck(body, builder, thing, light, scene.other_look);
    }
  }
}

}  // namespace driving
