#include "worldgen.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "dispatch.h"
#include "noise.h"
#include "objects.h"

namespace crafter {
namespace {

constexpr int kCenter = kArea / 2;

// What the noises alone say of a cell; the bits of kRock say which draws are taken there.
enum Ground : uint8_t {
  kStart = 0,
  kCave = 1,
  kTunnel = 2,
  kSand = 3,
  kWater = 4,
  kMeadow = 5,
  kWood = 6,
  kRock = 8,
  kMayBeCoal = 16,
  kMayBeIron = 32,
  kMayBeDiamond = 64,
  kIsLava = 128,
  kAnyOre = kMayBeCoal | kMayBeIron | kMayBeDiamond,
};

using Cells = std::vector<uint16_t>;

// The package's _simplex, for many cells at once.
class Layers {
 public:
  explicit Layers(int64_t seed) : permutation_(permutation(seed)) {}

  // noise3(x / size, y / size, z) of a column of the map: one x, and every y.
  void column(int x, double size, int z, std::array<double, kArea>& out) {
    x_.assign(kArea, x / size);
    y_.resize(kArea);
    for (size_t y = 0; y < kArea; ++y) y_[y] = static_cast<double>(y) / size;
    kernels().noise3(permutation_, x_.data(), y_.data(), z, kArea, out.data());
  }

  // The same of listed cells, after x and y are stretched; the answer is valid until the next call.
  const std::vector<double>& of(const Cells& cells, double size, int z) {
    return of(cells, size, z, [](double x) { return x; }, [](double y) { return y; });
  }
  template <typename X, typename Y>
  const std::vector<double>& of(const Cells& cells, double size, int z, X stretch_x, Y stretch_y) {
    x_.resize(cells.size());
    y_.resize(cells.size());
    values_.resize(cells.size());
    for (size_t i = 0; i < cells.size(); ++i) {
      x_[i] = stretch_x(static_cast<double>(cells[i] / kArea)) / size;
      y_[i] = stretch_y(static_cast<double>(cells[i] % kArea)) / size;
    }
    kernels().noise3(permutation_, x_.data(), y_.data(), z, cells.size(), values_.data());
    return values_;
  }

 private:
  Permutation permutation_;
  std::vector<double> x_;
  std::vector<double> y_;
  std::vector<double> values_;
};

// A finished mountain noise as the terrain wants it.
double scaled(const Terrain& terrain, double mountain) {
  return (terrain.mountain_absolute ? std::abs(mountain) : mountain) * terrain.mountain_scale;
}

}  // namespace

bool Terrain::operator==(const Terrain& other) const {
  return designed == other.designed && mountain_absolute == other.mountain_absolute &&
         mountain_scale == other.mountain_scale && water_scale == other.water_scale &&
         start_threshold == other.start_threshold && start_material == other.start_material && coal == other.coal &&
         iron == other.iron && diamond == other.diamond && tree == other.tree && ore_gate == other.ore_gate &&
         skeleton_distance == other.skeleton_distance;
}

Generator::Generator(const Rules& rules) : rules_(rules) {
  for (int x = 0; x < kArea; ++x) {
    for (int y = 0; y < kArea; ++y) {
      const int dx = x - kCenter;
      const int dy = y - kCenter;
      const double distance = std::sqrt(static_cast<double>(dx * dx + dy * dy));
      distance_[cell(x, y)] = distance;
      // The start area's noise is below 1, so the start value is below exp(6 - distance); water loses twice and
      // mountain 3.4 times that. Rounding is far below the last term.
      shift_[cell(x, y)] = distance < 8 ? std::numeric_limits<double>::infinity() : 4 * std::exp(6 - distance) + 1e-9;
    }
  }
}

void Generator::generate(const Plan& plan, World& world) const {
  world.reset(plan.seed);
  world.add(make_object(Kind::kPlayer, kCenter, kCenter));
  GroundMap ground;
  survey(plan.terrain, world.random.below(2147483647), ground);
  set_materials(plan.terrain, ground, world);
  set_creatures(plan.terrain, ground, world);
}

void Generator::survey(const Terrain& terrain, int64_t noise_seed, GroundMap& ground) const {
  Layers layers(noise_seed);
  std::array<double, kCells> mountains;
  std::array<double, kCells> waters;
  const double scale = std::max({1.0, terrain.mountain_scale, terrain.water_scale});
  Cells close;
  {
    std::array<double, kArea> large_water, small_water, large_mountain, small_mountain;
    for (int x = 0; x < kArea; ++x) {
      layers.column(x, 15, 3, large_water);
      layers.column(x, 5, 3, small_water);
      layers.column(x, 15, 0, large_mountain);
      layers.column(x, 5, 0, small_mountain);
      for (size_t y = 0; y < kArea; ++y) {
        const size_t at = cell(x, static_cast<int>(y));
        const double water = large_water[y] + 0.15 * small_water[y] + 0.1;
        const double mountain = (large_mountain[y] + 0.3 * small_mountain[y]) / 1.3;
        waters[at] = water;
        mountains[at] = mountain;
        // Far from the centre the start value is too small to carry either noise over a threshold.
        const double m = scaled(terrain, mountain - 0.3 * water);
        const double w = terrain.water_scale * water;
        const double nearest = std::min({std::abs(m - 0.15), std::abs(m - terrain.ore_gate), std::abs(m - 0.3),
                                         std::abs(w - 0.25), std::abs(w - 0.3), std::abs(w - 0.35)});
        if (nearest <= scale * shift_[at]) close.push_back(static_cast<uint16_t>(at));
      }
    }
  }
  std::array<double, kCells> starts{};
  const std::vector<double>& start_noise = layers.of(close, 3, 8);
  for (size_t i = 0; i < close.size(); ++i) {
    const double start = 4 - distance_[close[i]] + 2 * start_noise[i];
    starts[close[i]] = 1 / (1 + std::exp(-start));
  }

  Cells high, rock, shore, meadow;
  for (size_t at = 0; at < kCells; ++at) {
    const double water = waters[at] - 2 * starts[at];
    const double mountain = mountains[at] - (4 * starts[at] + 0.3 * water);
    waters[at] = water * terrain.water_scale;
    mountains[at] = scaled(terrain, mountain);
    const auto here = static_cast<uint16_t>(at);
    if (starts[at] > terrain.start_threshold) {
      ground[at] = kStart;
    } else if (mountains[at] > 0.15) {
      (mountains[at] > 0.3 ? high : rock).push_back(here);
    } else if (0.25 < waters[at] && waters[at] <= 0.35) {
      shore.push_back(here);
    } else if (0.3 < waters[at]) {
      ground[at] = kWater;
    } else {
      meadow.push_back(here);
    }
  }

  // Cells where the noise is above a number are found; the others go on to the next question.
  const auto ask = [&ground](const Cells& cells, const std::vector<double>& noise, double above, Ground found,
                             Cells& others) {
    for (size_t i = 0; i < cells.size(); ++i) {
      if (noise[i] > above) {
        ground[cells[i]] = found;
      } else {
        others.push_back(cells[i]);
      }
    }
  };
  const auto twice = [](double value) { return 2 * value; };
  const auto fifth = [](double value) { return value / 5; };
  Cells across, solid, bare, inland;
  ask(high, layers.of(high, 7, 6), 0.15, kCave, rock);
  ask(rock, layers.of(rock, 3, 7, twice, fifth), 0.4, kTunnel, across);
  ask(across, layers.of(across, 3, 7, fifth, twice), 0.4, kTunnel, solid);
  Cells peaks;
  for (const uint16_t at : solid) {
    ground[at] = kRock;
    if (mountains[at] > terrain.ore_gate) ground[at] |= terrain.designed ? kAnyOre : kMayBeDiamond;
    if (mountains[at] > 0.3) peaks.push_back(at);
  }
  const auto mark = [&ground](const Cells& cells, const std::vector<double>& noise, double above, Ground bit) {
    for (size_t i = 0; i < cells.size(); ++i) {
      if (noise[i] > above) ground[cells[i]] |= bit;
    }
  };
  if (!terrain.designed) {
    mark(solid, layers.of(solid, 8, 1), 0, kMayBeCoal);
    mark(solid, layers.of(solid, 6, 2), 0.4, kMayBeIron);
  }
  mark(peaks, layers.of(peaks, 5, 6), 0.35, kIsLava);

  ask(shore, layers.of(shore, 9, 4), -0.2, kSand, inland);
  for (const uint16_t at : inland) {
    if (0.3 < waters[at]) {
      ground[at] = kWater;
    } else {
      meadow.push_back(at);
    }
  }
  ask(meadow, layers.of(meadow, 7, 5), 0, kWood, bare);
  for (const uint16_t at : bare) ground[at] = kMeadow;
}

void Generator::set_materials(const Terrain& terrain, const GroundMap& ground, World& world) const {
  const auto drawn = [&world](double above) { return world.random.uniform() > above; };
  const auto of_rock = [&](uint8_t bits) {
    if ((bits & kMayBeCoal) && drawn(terrain.coal)) return rules_.coal;
    if ((bits & kMayBeIron) && drawn(terrain.iron)) return rules_.iron;
    if ((bits & kMayBeDiamond) && drawn(terrain.diamond)) return rules_.diamond;
    return bits & kIsLava ? rules_.lava : rules_.stone;
  };
  for (int x = 0; x < kArea; ++x) {
    for (int y = 0; y < kArea; ++y) {
      uint8_t material = rules_.grass;
      const uint8_t here = ground[cell(x, y)];
      if (here & kRock) {
        material = of_rock(here);
      } else if (here == kStart) {
        material = terrain.start_material;
      } else if (here == kCave || here == kTunnel) {
        material = rules_.path;
      } else if (here == kSand) {
        material = rules_.sand;
      } else if (here == kWater) {
        material = rules_.water;
      } else if (here == kWood && drawn(terrain.tree)) {
        material = rules_.tree;
      }
      world.set_material(x, y, material);
    }
  }
}

void Generator::set_creatures(const Terrain& terrain, const GroundMap& ground, World& world) const {
  const auto drawn = [&world](double above) { return world.random.uniform() > above; };
  for (int x = 0; x < kArea; ++x) {
    for (int y = 0; y < kArea; ++y) {
      const uint8_t material = world.material(x, y);
      if (!contains(rules_.walkable, material)) continue;
      const double distance = distance_[cell(x, y)];
      if (distance > 3 && material == rules_.grass && drawn(0.985)) {
        world.add(make_object(Kind::kCow, x, y));
      } else if (distance > 10 && drawn(0.993)) {
        world.add(make_object(Kind::kZombie, x, y));
      } else if (ground[cell(x, y)] == kTunnel && distance > terrain.skeleton_distance && drawn(0.95)) {
        world.add(make_object(Kind::kSkeleton, x, y));
      }
    }
  }
}

}  // namespace crafter
