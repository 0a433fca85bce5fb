#include "world.h"

#include <algorithm>

namespace crafter {

void World::clear() {
  objects.clear();
  daylight = 0;
  materials_.fill(0);
  cells_.fill(0);
  spaces_.fill({});
  for (auto& counts : counts_) counts.fill(0);
  chunks_.clear();
  known_.fill(false);
  arrivals_ = 0;
  any_removed_ = false;
}

void World::set_material(int x, int y, uint8_t material) {
  uint8_t& here = materials_[cell(x, y)];
  Space& space = spaces_[static_cast<size_t>(chunk_of(x, y))];
  space.grass = static_cast<uint8_t>(space.grass - (here == grass_) + (material == grass_));
  space.path = static_cast<uint8_t>(space.path - (here == path_) + (material == path_));
  here = material;
}

void World::set_materials(const std::array<uint8_t, kCells>& materials) {
  materials_ = materials;
  spaces_.fill({});
  for (int x = 0; x < kArea; ++x) {
    for (int y = 0; y < kArea; ++y) {
      Space& space = spaces_[static_cast<size_t>(chunk_of(x, y))];
      space.grass = static_cast<uint8_t>(space.grass + (material(x, y) == grass_));
      space.path = static_cast<uint8_t>(space.path + (material(x, y) == path_));
    }
  }
}

void World::enter(int chunk, Object& object) {
  const auto at = static_cast<size_t>(chunk);
  if (!known_[at]) {
    known_[at] = true;
    chunks_.push_back(static_cast<uint8_t>(chunk));
  }
  object.arrival = arrivals_++;
  ++counts_[at][static_cast<size_t>(object.kind)];
}

void World::add(Object object) {
  enter(chunk_of(object.x, object.y), object);
  objects.push_back(object);
  cells_[cell(object.x, object.y)] = static_cast<uint16_t>(objects.size());
}

void World::remove(size_t index) {
  Object& object = objects[index];
  if (object.removed) return;
  cells_[cell(object.x, object.y)] = 0;
  --counts_[static_cast<size_t>(chunk_of(object.x, object.y))][static_cast<size_t>(object.kind)];
  object.removed = true;
  any_removed_ = true;
}

void World::move(size_t index, int x, int y) {
  Object& object = objects[index];
  if (object.removed) return;
  cells_[cell(object.x, object.y)] = 0;
  cells_[cell(x, y)] = static_cast<uint16_t>(index + 1);
  const int from = chunk_of(object.x, object.y);
  const int to = chunk_of(x, y);
  if (from != to) {
    --counts_[static_cast<size_t>(from)][static_cast<size_t>(object.kind)];
    enter(to, object);
  }
  object.x = static_cast<uint8_t>(x);
  object.y = static_cast<uint8_t>(y);
}

void World::sweep() {
  if (!any_removed_) return;
  any_removed_ = false;
  size_t kept = 0;
  for (const Object& object : objects) {
    if (object.removed) continue;
    objects[kept++] = object;
    cells_[cell(object.x, object.y)] = static_cast<uint16_t>(kept);
  }
  objects.resize(kept);
}

std::vector<size_t> World::members(int chunk) const {
  std::vector<size_t> found;
  for (size_t i = 0; i < objects.size(); ++i) {
    if (!objects[i].removed && chunk_of(objects[i].x, objects[i].y) == chunk) found.push_back(i);
  }
  std::sort(found.begin(), found.end(), [this](size_t a, size_t b) { return objects[a].arrival < objects[b].arrival; });
  return found;
}

void World::restore(const std::array<uint8_t, kCells>& materials, const std::vector<Object>& all,
                    const std::vector<uint8_t>& chunks) {
  clear();
  set_materials(materials);
  for (const uint8_t chunk : chunks) {
    known_[chunk] = true;
    chunks_.push_back(chunk);
  }
  for (const Object& object : all) {
    add(object);
    objects.back().arrival = object.arrival;
  }
}

}  // namespace crafter
