// Observations: the frame that the package renders, and the symbolic view of the same cells.
//
// By night either takes the frame's noise from the world's random stream, so that one seed is one game.

#ifndef CRAFTER_RENDER_H_
#define CRAFTER_RENDER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "game.h"
#include "kernels.h"
#include "rules.h"

namespace crafter {

// Cells of the view, with the player in the middle.
constexpr int kViewX = 9;
constexpr int kViewY = 7;
constexpr int kUnit = 7;
// A frame in pixels; what the grid of 9 x 9 cells leaves is black.
constexpr int kFrame = 64;
constexpr int kFrameBytes = kFrame * kFrame * 3;
constexpr int kSymbolicCells = 2 * kViewX * kViewY;

// What an object looks like; none is 0.
enum class Look : uint8_t {
  kNone,
  kPlayerLeft,
  kPlayerRight,
  kPlayerUp,
  kPlayerDown,
  kPlayerSleep,
  kCow,
  kZombie,
  kSkeleton,
  kArrowLeft,
  kArrowRight,
  kArrowUp,
  kArrowDown,
  kPlant,
  kPlantRipe,
};
constexpr int kLooks = 15;

// The package's names of the looks' textures, from 1.
const std::vector<std::string>& look_names();

Look look_of(const Object& object, const Player& player);

// Pictures, handed in from the package's textures.
class Art {
 public:
  // tiles: for each material from 0 (outside the world) and each look from 0 (nothing) a tile, drawn one over the
  // other; nights: two times what each would be with no daylight; items: a tile for each item and count from 0 to 9;
  // vignette: how much of the night's noise falls on each pixel, column after column. Wrong sizes raise
  // std::invalid_argument.
  Art(const Rules& rules, const std::vector<uint8_t>& tiles, const std::vector<uint16_t>& nights,
      const std::vector<uint8_t>& items, const std::vector<double>& vignette);

  struct Tile {
    uint8_t day[kTileBytes];
    uint16_t twice_night[kTileBytes];
    // The day's rows once more, by channel and with a byte to spare.
    uint8_t planes[3][kUnit][kUnit + 1];
  };

  const Tile& tile(uint8_t material, Look look) const {
    return tiles_[static_cast<size_t>(material) * kLooks + static_cast<size_t>(look)];
  }
  const uint8_t* item(int id, int count) const {
    return items_[static_cast<size_t>(id * (kMostCount + 1) + count)].data();
  }
  const double* vignette() const { return vignette_.data(); }

 private:
  std::vector<Tile> tiles_;
  std::vector<std::array<uint8_t, kTileBytes>> items_;
  std::vector<double> vignette_;
};

// Draws the frame into kFrameBytes.
void draw_frame(const Rules& rules, const Art& art, Game& game, uint8_t* frame);

// Where the parts of a symbolic observation go.
struct Symbols {
  uint8_t* view;
  uint8_t* inventory;
  // Where a float goes, at any address.
  uint8_t* daylight;
};
void draw_symbols(const Rules& rules, Game& game, const Symbols& out);

// The whole world: materials, then looks, kCells each.
void draw_map(const Game& game, uint8_t* out);

// The package's semantic view: materials, and objects as the ids after the last material's.
void draw_semantic(const Rules& rules, const Game& game, uint8_t* out);

}  // namespace crafter

#endif  // CRAFTER_RENDER_H_
