#include "things.h"

#include <algorithm>

namespace driving {
namespace {

// A place by a thing's own axes: to the right of its middle, ahead of it, and above the ground.
struct Local {
  int64_t right, ahead, up;
};

// Brings a thing's own axes to the camera's.
class Frame {
 public:
  Frame(const Scene& scene, int64_t t, int64_t y, int64_t turn) : scene_(scene) {
    const int64_t c = cosine(scene.heading);
    const int64_t s = sine(scene.heading);
    const Point road = direction(scene, y, turn);
    ahead_ = {(road.x * c - road.y * s) >> kTrigBits, (road.x * s + road.y * c) >> kTrigBits};
    const int64_t x = scene.middle(y) + t - scene.camera_t;
    right_ = (x * c - y * s) >> kTrigBits;
    depth_ = (x * s + y * c) >> kTrigBits;
  }

  Vertex vertex(const Local& at) const {
    const int64_t right = right_ + ((at.ahead * ahead_.x + at.right * ahead_.y) >> kTrigBits);
    const int64_t depth = depth_ + ((at.ahead * ahead_.y - at.right * ahead_.x) >> kTrigBits);
    return {right, depth, at.up + scene_.height(depth) - scene_.camera_height};
  }
  Point ahead() const { return ahead_; }
  int64_t depth() const { return depth_; }

 private:
  const Scene& scene_;
  Point ahead_;
  int64_t right_, depth_;
};

// A block with six faces: its top may be shorter and narrower than its foot.
struct Block {
  int64_t left, right, back, front, foot;  // of the foot
  int64_t top_left, top_right, top_back, top_front, top;
};

Block box(int64_t left, int64_t right, int64_t back, int64_t front, int64_t foot, int64_t top) {
  return {left, right, back, front, foot, left, right, back, front, top};
}

class Builder {
 public:
  Builder(const Scene& scene, const Light& light, Canvas& canvas, const Thing& thing, uint8_t id, Seen* seen)
      : light_(light),
        canvas_(canvas),
        thing_(thing),
        frame_(scene, thing.t, thing.y, thing.turn),
        id_(id),
        seen_(seen) {}

  // Something that is wholly behind the camera is not drawn.
  bool is_ahead() const { return frame_.depth() + thing_.length + thing_.width > kNearest; }

  void block(const Block& b, Colour colour) {
    const Local corners[8] = {{b.left, b.back, b.foot},          {b.right, b.back, b.foot},
                              {b.right, b.front, b.foot},        {b.left, b.front, b.foot},
                              {b.top_left, b.top_back, b.top},   {b.top_right, b.top_back, b.top},
                              {b.top_right, b.top_front, b.top}, {b.top_left, b.top_front, b.top}};
    Vertex v[8];
    for (size_t i = 0; i < 8; ++i) v[i] = frame_.vertex(corners[i]);
    static constexpr int kSides[kFaces][4] = {{4, 5, 6, 7}, {0, 1, 5, 4}, {2, 3, 7, 6}, {3, 0, 4, 7}, {1, 2, 6, 5}};
    for (int face = 0; face < kFaces; ++face) {
      const int* side = kSides[face];
      const Vertex quad[4] = {v[side[0]], v[side[1]], v[side[2]], v[side[3]]};
      if (!faces_camera(quad)) continue;
      const int64_t depth = std::max<int64_t>((quad[0].depth + quad[2].depth) / 2, kNearest);
      const Colour seen_as = thing_.sky_coloured
                                 ? sky(static_cast<Face>(face), depth)
                                 : light_.lit(colour, light_.gain(static_cast<Face>(face), frame_.ahead()), depth);
      canvas_.fill(quad, 4, seen_as, id_, seen_);
    }
  }

  // A quad on the back (at `ahead`, a little behind it) or on the front.
  void patch(int64_t left, int64_t right, int64_t foot, int64_t top, int64_t ahead, bool back, Colour colour,
             bool shines) {
    const int64_t out = ahead + (back ? -from_mm(15) : from_mm(15));
    const Local corners[4] = {{left, out, foot}, {right, out, foot}, {right, out, top}, {left, out, top}};
    Vertex quad[4];
    for (size_t i = 0; i < 4; ++i) quad[i] = frame_.vertex(corners[back ? i : 3 - i]);
    if (!faces_camera(quad)) return;
    const int64_t depth = std::max<int64_t>(quad[0].depth, kNearest);
    canvas_.fill(quad, 4,
                 shines ? light_.shining(colour, depth)
                        : light_.lit(colour, light_.gain(back ? kBack : kFront, frame_.ahead()), depth),
                 id_, seen_);
  }

 private:
  // Corners go counter-clockwise for who looks at the outside.
  static bool faces_camera(const Vertex* quad) {
    const auto minus = [](const Vertex& a, const Vertex& b) {
      return Vertex{a.right - b.right, a.depth - b.depth, a.up - b.up};
    };
    const Vertex a = minus(quad[2], quad[0]);
    const Vertex b = minus(quad[3], quad[1]);
    const Vertex normal{a.depth * b.up - a.up * b.depth, a.up * b.right - a.right * b.up,
                        a.right * b.depth - a.depth * b.right};
    return normal.right * quad[0].right + normal.depth * quad[0].depth + normal.up * quad[0].up < 0;
  }

  Colour sky(Face face, int64_t depth) const {
    // Nearly the sky's own colour; without shades a shape would have no edges at all.
    const int64_t gain = face == kTop ? 256 : 250;
    const Colour own = light_.horizon;
    const auto one = [gain](int64_t value) { return static_cast<int16_t>(value * gain >> 8); };
    return light_.through_air({one(own.r), one(own.g), one(own.b)}, depth);
  }

  const Light& light_;
  Canvas& canvas_;
  const Thing& thing_;
  const Frame frame_;
  const uint8_t id_;
  Seen* const seen_;
};

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

void draw_truck(Builder& builder, const Thing& thing, const Light& light, bool other_look) {
  const int64_t w = thing.width / 2;
  const int64_t l = thing.length / 2;
  const int64_t floor = from_mm(1050);
  const int64_t cab = thing.sky_coloured ? 0 : from_mm(2200);
  builder.block(box(-w, w, -l, l - cab - (cab != 0 ? from_mm(400) : 0), floor, thing.height), thing.colour);
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
  for (const Thing& thing : scene.things) {
    const Frame frame(scene, thing.t, thing.y, thing.turn);
    const int64_t w = thing.width / 2 + from_mm(120);
    const int64_t l = thing.length / 2 + from_mm(120);
    const Vertex quad[4] = {frame.vertex({-w, -l, 0}), frame.vertex({w, -l, 0}), frame.vertex({w, l, 0}),
                            frame.vertex({-w, l, 0})};
    const int64_t clear = light.clearness(std::max<int64_t>(frame.depth(), 0));
    canvas.shade(quad, 4, static_cast<int>(256 - (light.sunny ? 120 : 90) * clear / 65536));
  }
}

void draw_things(const Scene& scene, const Light& light, Canvas& canvas, std::vector<Seen>& seen) {
  seen.assign(scene.things.size(), Seen{});
  for (size_t i = 0; i < scene.things.size(); ++i) {
    const Thing& thing = scene.things[i];
    Builder builder(scene, light, canvas, thing, static_cast<uint8_t>(i + 1), &seen[i]);
    if (!builder.is_ahead()) continue;
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
        draw_truck(builder, thing, light, scene.other_look);
    }
  }
}

}  // namespace driving
