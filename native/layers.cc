#include "layers.h"

#include <algorithm>
#include <cmath>

#include "dispatch.h"

namespace crafter {
namespace {

// A layer is noise3(x * x_times / x_by / size, y * y_times / y_by / size, z).
struct Shape {
  double size;
  double z;
  double x_times = 1, x_by = 1;
  double y_times = 1, y_by = 1;
};

// In the order of the layers.
constexpr Shape kShapes[kLayers] = {
    {3, 8}, {15, 3}, {5, 3}, {15, 0}, {5, 0}, {7, 6}, {3, 7, 2, 1, 1, 5}, {3, 7, 1, 5, 2, 1},
    {8, 1}, {6, 2},  {5, 6}, {9, 4},  {7, 5},
};

// Cells that are worked on together.
constexpr size_t kSome = 256;

}  // namespace

LayerTables::LayerTables() {
  for (size_t layer = 0; layer < kLayers; ++layer) {
    const Shape& shape = kShapes[layer];
    Table& table = tables_[layer];
    table.z = shape.z;
    for (size_t i = 0; i < kArea; ++i) {
      const auto at = static_cast<double>(i);
      table.x[i] = at * shape.x_times / shape.x_by / shape.size;
      table.y[i] = at * shape.y_times / shape.y_by / shape.size;
      table.rough_x[i] = static_cast<float>(table.x[i]);
      table.rough_y[i] = static_cast<float>(table.y[i]);
    }
  }
}

void Layers::exact(Layer layer, const uint16_t* cells, size_t count, double* out) const {
  const LayerTables::Table& table = tables_[layer];
  std::array<double, kSome> x, y;
  for (size_t done = 0; done < count; done += kSome) {
    const size_t now = std::min(kSome, count - done);
    for (size_t i = 0; i < now; ++i) {
      x[i] = table.x[cells[done + i] / kArea];
      y[i] = table.y[cells[done + i] % kArea];
    }
    kernels().noise3(permutation_, x.data(), y.data(), table.z, now, out + done);
  }
}

void Layers::rough_column(Layer layer, int x, float* out) const {
  const LayerTables::Table& table = tables_[layer];
  std::array<float, kArea> same;
  same.fill(table.rough_x[static_cast<size_t>(x)]);
  kernels().rough_noise3(permutation_, same.data(), table.rough_y.data(), static_cast<float>(table.z), kArea, out);
}

void Layers::rough(Layer layer, const Cells& cells, float* out) const {
  const LayerTables::Table& table = tables_[layer];
  std::array<float, kSome> x, y;
  for (size_t done = 0; done < cells.count; done += kSome) {
    const size_t now = std::min(kSome, cells.count - done);
    for (size_t i = 0; i < now; ++i) {
      x[i] = table.rough_x[cells.at[done + i] / kArea];
      y[i] = table.rough_y[cells.at[done + i] % kArea];
    }
    kernels().rough_noise3(permutation_, x.data(), y.data(), static_cast<float>(table.z), now, out + done);
  }
}

void Layers::divide(Layer layer, const Cells& cells, double number, Cells& above, Cells& others) const {
  std::array<float, kCells> nearly;
  rough(layer, cells, nearly.data());
  Cells doubtful;
  for (size_t i = 0; i < cells.count; ++i) {
    const double difference = nearly[i] - number;
    above.add(cells.at[i], difference >= kRough);
    others.add(cells.at[i], difference <= -kRough);
    doubtful.add(cells.at[i], std::abs(difference) < kRough);
  }
  std::array<double, kCells> values;
  exact(layer, doubtful.at.data(), doubtful.count, values.data());
  for (size_t i = 0; i < doubtful.count; ++i) {
    above.add(doubtful.at[i], values[i] > number);
    others.add(doubtful.at[i], !(values[i] > number));
  }
}

}  // namespace crafter
