// World generation: the stock game's, and the designed worlds of EnvGen's paper.

#ifndef CRAFTER_WORLDGEN_H_
#define CRAFTER_WORLDGEN_H_

#include <array>
#include <cstdint>
#include <vector>

#include "layers.h"
#include "rules.h"
#include "world.h"

namespace crafter {

// A design as the generator's numbers; the defaults are the original game.
struct Terrain {
  // The paper's generator: in place of the stock game's noise gates for coal and iron, the one gate for all ore.
  bool designed = false;
  bool mountain_absolute = false;
  double mountain_scale = 1;
  double water_scale = 1;
  double start_threshold = 0.5;
  uint8_t start_material = 0;
  // A uniform draw above makes the resource.
  double coal = 0.85;
  double iron = 0.75;
  double diamond = 0.994;
  double tree = 0.8;
  // Ore needs more mountain noise than this, and skeletons start farther from the player than that.
  double ore_gate = 0.18;
  double skeleton_distance = -1;

  bool operator==(const Terrain& other) const;
};

// Everything that one world is made from.
struct Plan {
  uint32_t seed = 0;
  Terrain terrain;

  bool operator==(const Plan& other) const { return seed == other.seed && terrain == other.terrain; }
};

class Generator {
 public:
  explicit Generator(const Rules& rules);

  // Makes the world anew: the player at its centre, materials, creatures.
  void generate(const Plan& plan, World& world) const;

 private:
  // Of each cell: on which side of every threshold its numbers are; and what the noises make of it, before any draw.
  using SiteMap = std::array<uint8_t, kCells>;
  using GroundMap = std::array<uint8_t, kCells>;

  void survey(const Terrain& terrain, const Layers& layers, SiteMap& sites) const;
  void set_ground(const Terrain& terrain, const Layers& layers, const SiteMap& sites, GroundMap& ground) const;
  void set_materials(const Terrain& terrain, const GroundMap& ground, World& world) const;
  void set_creatures(const Terrain& terrain, const GroundMap& ground, World& world) const;

  const Rules& rules_;
  const LayerTables tables_;
  // Of each cell: its distance from the centre, and the most by which the start area could lower its mountain.
  std::array<double, kCells> distance_;
  std::array<double, kCells> start_reach_;
};

}  // namespace crafter

#endif  // CRAFTER_WORLDGEN_H_
