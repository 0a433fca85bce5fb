// A world: its materials, its objects in the order of their creation, the chunks they are in, and its random stream.

#ifndef CRAFTER_WORLD_H_
#define CRAFTER_WORLD_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "rng.h"
#include "rules.h"

namespace crafter {

// In the order of the package's semantic ids.
enum class Kind : uint8_t { kPlayer, kCow, kZombie, kSkeleton, kArrow, kPlant };
constexpr int kKinds = 6;

struct Object {
  Kind kind = Kind::kPlayer;
  // Gone from the world, though it still acts to the end of the step in which it went.
  bool removed = false;
  uint8_t x = 0;
  uint8_t y = 0;
  // Where an arrow flies.
  int8_t dx = 0;
  int8_t dy = 0;
  // The player's health is in the inventory.
  int16_t health = 0;
  // A zombie's cooldown, a skeleton's reload, a plant's growth.
  int32_t timer = 0;
  // When it came into its chunk: chunks list their objects in this order.
  uint32_t arrival = 0;
};

inline bool inside(int x, int y) { return 0 <= x && x < kArea && 0 <= y && y < kArea; }
inline size_t cell(int x, int y) { return static_cast<size_t>(x * kArea + y); }
inline int chunk_of(int x, int y) { return x / kChunk * kChunkRows + y / kChunk; }

class World {
 public:
  explicit World(const Rules& rules) : grass_(rules.grass), path_(rules.path) { clear(); }

  // Empties the world and seeds its stream.
  void reset(uint32_t seed) {
    clear();
    random.seed(seed);
  }

  uint8_t material(int x, int y) const { return materials_[cell(x, y)]; }
  // 0 outside of the world.
  uint8_t material_or_none(int x, int y) const { return inside(x, y) ? material(x, y) : uint8_t{0}; }
  void set_material(int x, int y, uint8_t material);
  void set_materials(const std::array<uint8_t, kCells>& materials);

  // The object at a cell as its index + 1; 0 is none, or outside of the world.
  size_t object_at(int x, int y) const { return inside(x, y) ? cells_[cell(x, y)] : 0u; }

  // The cell must be free.
  void add(Object object);
  void remove(size_t index);
  void move(size_t index, int x, int y);

  // Forgets removed objects; indices change, the order does not.
  void sweep();

  // Chunks in the order in which they first held an object.
  const std::vector<uint8_t>& chunks() const { return chunks_; }
  int grass_in(int chunk) const { return spaces_[static_cast<size_t>(chunk)].grass; }
  int path_in(int chunk) const { return spaces_[static_cast<size_t>(chunk)].path; }
  int count(int chunk, Kind kind) const { return counts_[static_cast<size_t>(chunk)][static_cast<size_t>(kind)]; }
  // A chunk's objects, by arrival.
  std::vector<size_t> members(int chunk) const;

  const std::array<uint8_t, kCells>& materials() const { return materials_; }
  // Takes over a whole world; every check has been made by the caller.
  void restore(const std::array<uint8_t, kCells>& materials, const std::vector<Object>& objects,
               const std::vector<uint8_t>& chunks);

  std::vector<Object> objects;
  RandomState random;
  double daylight = 0;

 private:
  struct Space {
    uint8_t grass = 0;
    uint8_t path = 0;
  };

  void clear();
  void enter(int chunk, Object& object);

  uint8_t grass_;
  uint8_t path_;
  std::array<uint8_t, kCells> materials_;
  std::array<uint16_t, kCells> cells_;
  std::array<Space, kChunks> spaces_;
  std::array<std::array<uint8_t, kKinds>, kChunks> counts_;
  std::vector<uint8_t> chunks_;
  std::array<bool, kChunks> known_;
  uint32_t arrivals_ = 0;
  bool any_removed_ = false;
};

inline int distance(const Object& a, const Object& b) { return std::abs(a.x - b.x) + std::abs(a.y - b.y); }

}  // namespace crafter

#endif  // CRAFTER_WORLD_H_
