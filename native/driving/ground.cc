#include "ground.h"

#include <algorithm>
#include <array>

#include "texture.h"

namespace driving {
namespace {

// The road across, in steps of 1/64 m from 20 m left of its middle to 20 m right.
constexpr int kStepBits = 4;
constexpr int64_t kSide = metres(20);
constexpr int kSteps = static_cast<int>(2 * kSide >> kStepBits);

enum Surface : uint8_t { kGrass, kAsphalt, kVerge, kSurfaces };

// A dash and its gap, and the dash; the period is a power of two of lengths, so that it can be masked.
constexpr int64_t kPeriod = int64_t{1} << 13;  // 8 m
constexpr int kDashCells = 64;
constexpr int kDashed = 24;

// What lies across the road: surfaces, wear, and paint as sums from the left, so that any width has its mean at once.
struct Profile {
  std::array<uint8_t, kSteps> surface;
  std::array<int8_t, kSteps> wear;
  // Of white lines, dashed ones in the upper half; of yellow lines.
  std::array<uint64_t, kSteps + 1> white;
  std::array<uint64_t, kSteps + 1> yellow;
  bool has_yellow;
};

void paint(std::array<uint64_t, kSteps + 1>& sums, int64_t t, int64_t width, uint64_t strength) {
  const int64_t from = (t - width / 2 + kSide) >> kStepBits;
  const int64_t to = (t + width / 2 + kSide) >> kStepBits;
  for (int64_t i = std::max<int64_t>(from, 0); i < std::min<int64_t>(to, kSteps); ++i) {
    sums[static_cast<size_t>(i) + 1] += strength;
  }
}

void lay_out(const Scene& scene, Profile& profile) {
  const int64_t half = scene.lanes * scene.lane_width / 2;
  const int64_t verge = metres(0, 500);
  for (int i = 0; i < kSteps; ++i) {
    const int64_t t = (static_cast<int64_t>(i) << kStepBits) - kSide;
    const bool paved = t >= -half - scene.shoulder[0] && t < half + scene.shoulder[1];
    const bool near = t >= -half - scene.shoulder[0] - verge && t < half + scene.shoulder[1] + verge;
    profile.surface[static_cast<size_t>(i)] = paved ? kAsphalt : near ? kVerge : kGrass;
    // Wheels polish two tracks in each lane; the shoulder is lighter.
    const int64_t in_lane = t + half;
    int8_t wear = 12;
    if (in_lane >= 0 && in_lane < 2 * half) {
      const int64_t across = in_lane % scene.lane_width - scene.lane_width / 2;
      wear = std::abs(std::abs(across) - metres(0, 750)) < metres(0, 260) ? -7 : 0;
    }
    profile.wear[static_cast<size_t>(i)] = paved ? wear : 0;
  }
  profile.white.fill(0);
  profile.yellow.fill(0);
  profile.has_yellow = scene.shift != 0;
  if (scene.markings != kMissing) {
    const int64_t width = from_mm(scene.other_look ? 120 : 160);
    const uint64_t strength = scene.markings == kFaded ? 96 : scene.shift != 0 ? 150 : 236;
    for (int line = 0; line <= scene.lanes; ++line) {
      const int64_t t = line * scene.lane_width - half;
      const bool whole = line == 0 || line == scene.lanes || scene.markings == kSolid;
      paint(profile.white, t, width, whole ? strength : strength << 32);
      if (scene.shift != 0) paint(profile.yellow, scene.edge(line), from_mm(180), 240);
    }
  }
  for (size_t i = 0; i < kSteps; ++i) {
    profile.white[i + 1] += profile.white[i];
    profile.yellow[i + 1] += profile.yellow[i];
  }
}

// The depth that each row shows, by marching ahead: rows fill from the bottom, and what a crest hides fills none.
void find_depths(const Scene& scene, const Canvas& canvas, std::vector<int64_t>& inverses) {
  inverses.assign(static_cast<size_t>(canvas.height), 0);
  int row = canvas.height - 1;
  int64_t last_inverse = kInverse / kNearest;
  int64_t last_v = canvas.centre_v() + canvas.focal() * (scene.camera_height - scene.height(kNearest)) / kNearest;
  for (int64_t depth = kNearest; depth < metres(400) && row >= 0; depth += depth / 48 + 1) {
    const int64_t v = canvas.centre_v() + canvas.focal() * (scene.camera_height - scene.height(depth)) / depth;
    const int64_t inverse = kInverse / depth;
    for (; row >= 0 && row * 256 + 128 >= v; --row) {
      const int64_t part = last_v > v ? ((last_v - (row * 256 + 128)) << 16) / (last_v - v) : 65536;
      inverses[static_cast<size_t>(row)] = last_inverse + ((inverse - last_inverse) * clamp(part, 0, 65536) >> 16);
    }
    last_v = v;
    last_inverse = inverse;
  }
}

// Over how much of the ground a pixel of a row averages.
constexpr uint32_t kMargin = 200;
struct Window {
  uint32_t half;                          // of the profile's steps
  uint32_t share;                         // 2^16 over a window's steps
  std::array<uint32_t, kDashCells> dash;  // how much of dashes is seen at each place of a period, of 256
  int level;                              // of noise
};

struct RowLook {
  int32_t base[kSurfaces][3];
  int32_t grain[kSurfaces];  // how strong noise is, 256 is its full strength
  int32_t white[3], yellow[3];
};

class Ground {
 public:
  Ground(const Scene& scene, const Light& light, Canvas& canvas)
      : scene_(scene), light_(light), canvas_(canvas), is_faded_(scene.markings == kFaded) {
    lay_out(scene, profile_);
    Stream stream(scene.seed, 40);
    phase_ = stream.below(kPeriod) + scene.along;
    across_ = stream.below(kTile) << 12;
    const int shade = static_cast<int>(stream.around(16));
    const auto tinted = [shade](int r, int g, int b) {
      return Colour{static_cast<int16_t>(r + shade), static_cast<int16_t>(g + shade), static_cast<int16_t>(b + shade)};
    };
    if (scene.other_look) {
      own_[kGrass] = stream.below(2) == 0 ? tinted(150, 128, 84) : tinted(118, 104, 78);
      own_[kAsphalt] = stream.below(3) == 0 ? tinted(74, 66, 62) : tinted(142, 138, 130);
      own_[kVerge] = tinted(128, 112, 90);
    } else {
      own_[kGrass] = stream.below(2) == 0 ? tinted(66, 98, 44) : tinted(86, 104, 52);
      own_[kAsphalt] = tinted(92, 92, 96);
      own_[kVerge] = tinted(104, 98, 84);
    }
    if (scene.weather == kRain) {
      for (Colour& colour : own_) colour = mix(colour, {30, 34, 38}, 22000);
    }
    sine_ = sine(scene.heading);
    cosine_ = cosine(scene.heading);
  }

  void draw() {
    std::vector<int64_t> inverses;
    find_depths(scene_, canvas_, inverses);
    for (int row = 0; row < canvas_.height; ++row) {
      if (inverses[static_cast<size_t>(row)] > 0) draw_row(row, inverses[static_cast<size_t>(row)]);
    }
  }

 private:
  RowLook look(int64_t depth) const {
    RowLook out;
    for (int surface = 0; surface < kSurfaces; ++surface) {
      Colour own = light_.lit(own_[surface], 256, depth);
      if (scene_.weather == kRain && surface == kAsphalt) {
        // Wet asphalt mirrors the sky, the more the flatter one looks at it.
        own = mix(own, light_.through_air(light_.horizon, depth), 36000 * depth / (depth + metres(25)));
      }
      out.base[surface][0] = own.r, out.base[surface][1] = own.g, out.base[surface][2] = own.b;
      const int64_t strength = surface == kGrass ? 120 : scene_.other_look ? 76 : 56;
      const Colour plain = light_.lit({128, 128, 128}, 256, 0);
      out.grain[surface] = static_cast<int32_t>(strength * plain.g / 128 * (light_.clearness(depth) >> 8) >> 8);
    }
    const Colour white = light_.lit({240, 240, 236}, 256, depth);
    const Colour yellow = light_.lit({240, 180, 20}, 256, depth);
    out.white[0] = white.r, out.white[1] = white.g, out.white[2] = white.b;
    out.yellow[0] = yellow.r, out.yellow[1] = yellow.g, out.yellow[2] = yellow.b;
    return out;
  }

  void draw_row(int row, int64_t inverse) {
    const int64_t depth = kInverse / inverse;
    const RowLook row_look = look(depth);
    const int width = canvas_.width;
    // A pixel's width on the ground; half the window over which paint is averaged, in the profile's steps.
    const int64_t foot = depth * 256 / canvas_.focal() + 1;
    Window window;
    window.half = static_cast<uint32_t>(clamp((foot / 2) >> kStepBits, 1, kMargin));
    window.share = 65536 / (2 * window.half);
    // How long a pixel is on the ground, and how much of dashes a window of that length sees at each place of a period.
    const int64_t deep = std::max<int64_t>(depth * depth / scene_.camera_height * 256 / canvas_.focal(), 1);
    fill_dashes(static_cast<int>(clamp(deep * kDashCells / kPeriod / 2, 1, kDashCells / 2)), window.dash);
    window.level = 0;
    while (window.level < kTileLevels - 1 && (foot >> (window.level + 5)) > 0) ++window.level;

    int32_t* const near = &canvas_.inverse[static_cast<size_t>(row) * static_cast<size_t>(width)];
    uint8_t* const ids = &canvas_.ids[static_cast<size_t>(row) * static_cast<size_t>(width)];
    uint8_t* out = canvas_.rgb + static_cast<ptrdiff_t>(3) * row * width;
    std::fill(near, near + width, static_cast<int32_t>(inverse));
    std::fill(ids, ids + width, kGround);
    constexpr int kSpan = 16;
    Place left = place(0, depth);
    for (int from = 0; from < width; from += kSpan) {
      const int count = std::min(kSpan, width - from);
      const Place right = place(from + count, depth);
      const auto step_t = static_cast<int32_t>(((right.t - left.t) * 256) / count);
      const auto step_y = static_cast<int32_t>(((right.y - left.y) * 256) / count);
      put_span(row_look, static_cast<int32_t>(left.t * 256), static_cast<int32_t>(left.y * 256), step_t, step_y, count,
               window, out + static_cast<ptrdiff_t>(3) * from);
      left = right;
    }
  }

  struct Place {
    int64_t t, y;
  };
  // What of the road a pixel's middle shows in a row of some depth.
  Place place(int u, int64_t depth) const {
    const int64_t right = (u * 256 + 128 - canvas_.centre_u()) * depth / canvas_.focal();
    const int64_t x = scene_.camera_t + ((right * cosine_ + depth * sine_) >> kTrigBits);
    const int64_t y = (depth * cosine_ - right * sine_) >> kTrigBits;
    return {x - scene_.middle(y), y};
  }

  void fill_dashes(int half, std::array<uint32_t, kDashCells>& dash) const {
    uint32_t sum = 0;
    const auto painted = [](int cell) { return (cell & (kDashCells - 1)) < kDashed ? 256u : 0u; };
    for (int cell = -half; cell < half; ++cell) sum += painted(cell);
    for (int cell = 0; cell < kDashCells; ++cell) {
      dash[static_cast<size_t>(cell)] = sum / static_cast<uint32_t>(2 * half);
      sum += painted(cell + half) - painted(cell - half);
    }
  }

  void put_span(const RowLook& row, int32_t t, int32_t y, int32_t step_t, int32_t step_y, int count,
                const Window& window, uint8_t* out) const {
    const int level = window.level;
    const int8_t* const noise = noise_.row(level, 0);
    const uint32_t mask = (static_cast<uint32_t>(kTile) >> level) - 1;
    const auto across = static_cast<int32_t>(across_);
    const auto along = static_cast<int32_t>(scene_.along);
    for (; count > 0; --count, t += step_t, y += step_y, out += 3) {
      const int32_t at = t >> 8;
      const int32_t ahead = y >> 8;
      const uint32_t column = static_cast<uint32_t>((at + across) >> (5 + level)) & mask;
      const uint32_t line = static_cast<uint32_t>((ahead + along) >> (6 + level)) & mask;
      const int32_t grain = noise[line * (mask + 1) + column];
      const auto index = static_cast<uint32_t>((at + static_cast<int32_t>(kSide)) >> kStepBits);
      if (index - kMargin >= kSteps - 2 * kMargin) {
        put(row.base[kGrass], row.grain[kGrass] * grain >> 8, out);
        continue;
      }
      const uint8_t surface = profile_.surface[index];
      const int32_t lift = (row.grain[surface] * grain + profile_.wear[index] * 256) >> 8;
      const uint64_t white = profile_.white[index + window.half] - profile_.white[index - window.half];
      const uint64_t yellow =
          profile_.has_yellow ? profile_.yellow[index + window.half] - profile_.yellow[index - window.half] : 0;
      if (surface != kAsphalt || (white | yellow) == 0) {
        put(row.base[surface], lift, out);
        continue;
      }
      const uint32_t cell = static_cast<uint32_t>((ahead + static_cast<int32_t>(phase_)) >> 7) & (kDashCells - 1);
      const auto solid = static_cast<uint32_t>(white);
      const auto dashed = static_cast<uint32_t>(white >> 32);
      auto cover = static_cast<int32_t>(((solid + (dashed * window.dash[cell] >> 8)) * window.share) >> 16);
      // Old paint has worn off in patches.
      if (is_faded_) cover = cover * std::min(std::max(128 + 2 * grain, 0), 256) >> 8;
      const auto over = static_cast<int32_t>(static_cast<uint32_t>(yellow) * window.share >> 16);
      int32_t value[3];
      for (int i = 0; i < 3; ++i) {
        value[i] = row.base[surface][i] + lift;
        value[i] += (row.white[i] - value[i]) * cover >> 8;
        value[i] += (row.yellow[i] - value[i]) * over >> 8;
      }
      put(value, 0, out);
    }
  }

  static void put(const int32_t* value, int32_t lift, uint8_t* out) {
    for (int i = 0; i < 3; ++i) out[i] = static_cast<uint8_t>(std::min(std::max(value[i] + lift, 0), 255));
  }

  const Scene& scene_;
  const Light& light_;
  Canvas& canvas_;
  Profile profile_;
  Colour own_[kSurfaces];
  const Noise& noise_ = Noise::tile();
  const bool is_faded_;
  int64_t phase_, across_;
  int64_t sine_, cosine_;
};

}  // namespace

void draw_ground(const Scene& scene, const Light& light, Canvas& canvas) { Ground(scene, light, canvas).draw(); }

}  // namespace driving
