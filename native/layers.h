// The layers of noise that a world is made of, and questions about them for many cells at once.
//
// Float32 answers wherever it is beyond doubt, at half of the cost; what lies too near to a threshold is computed in
// float64 as the package does. So every answer is the package's.

#ifndef CRAFTER_LAYERS_H_
#define CRAFTER_LAYERS_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "noise.h"
#include "rules.h"

namespace crafter {

// Rough noise is off by less than this at every cell of a world; a test holds it to half. OpenSimplex jumps a little
// where the regions of its lattice meet, and float32 may see a point on the other side: that is nearly all of it.
constexpr double kRough = 5e-4;

// Some of a world's cells.
struct Cells {
  // With room for one that is written but not kept.
  std::array<uint16_t, kCells + 1> at;
  size_t count = 0;

  // Keeps the cell where it is wanted; there is no branch to guess.
  void add(size_t cell, bool wanted) {
    at[count] = static_cast<uint16_t>(cell);
    count += wanted;
  }
  const uint16_t* begin() const { return at.data(); }
  const uint16_t* end() const { return at.data() + count; }
};

// The package's calls of _simplex.
enum class Layer : uint8_t {
  kStart,
  kLargeWater,
  kSmallWater,
  kLargeMountain,
  kSmallMountain,
  kCave,
  kTunnelAcross,
  kTunnelAlong,
  kCoal,
  kIron,
  kLava,
  kSand,
  kWood,
};
constexpr size_t kLayers = 13;

// Where the cells lie in each layer's noise.
class LayerTables {
 public:
  LayerTables();

  struct Table {
    double z;
    std::array<double, kArea> x, y;
    std::array<float, kArea> rough_x, rough_y;
  };
  const Table& operator[](Layer layer) const { return tables_[static_cast<size_t>(layer)]; }

 private:
  std::array<Table, kLayers> tables_;
};

// The noise of one world.
class Layers {
 public:
  Layers(const LayerTables& tables, int64_t seed) : tables_(tables), permutation_(permutation(seed)) {}

  // The noise at some cells, one number for each.
  void exact(Layer layer, const uint16_t* cells, size_t count, double* out) const;

  // Nearly the noise at all cells of one x, or at some cells.
  void rough_column(Layer layer, int x, float* out) const;
  void rough(Layer layer, const Cells& cells, float* out) const;

  // Adds each cell to one of two lists, by whether its noise is above a number.
  void divide(Layer layer, const Cells& cells, double number, Cells& above, Cells& others) const;

 private:
  const LayerTables& tables_;
  const Permutation permutation_;
};

}  // namespace crafter

#endif  // CRAFTER_LAYERS_H_
