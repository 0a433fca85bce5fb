#include "render.h"

#include <cstring>
#include <stdexcept>

#include "dispatch.h"

namespace crafter {
namespace {

constexpr int kRowBytes = 3 * kFrame;
constexpr int kTileRowBytes = 3 * kUnit;
constexpr double kNightBelow = 0.5;
constexpr size_t kNightDraws = size_t{2} * kViewWidth * kViewHeight;

struct Seen {
  uint8_t material;
  Look look;
};

// The cells in view, column after column.
template <typename Visit>
void look_around(const Game& game, Visit visit) {
  const Object& self = game.world.objects[kPlayerIndex];
  for (int column = 0; column < kViewX; ++column) {
    const int x = self.x + column - kViewX / 2;
    for (int row = 0; row < kViewY; ++row) {
      const int y = self.y + row - kViewY / 2;
      Seen seen{0, Look::kNone};
      if (inside(x, y)) {
        seen.material = game.world.material(x, y);
        if (const size_t object = game.world.object_at(x, y)) {
          seen.look = look_of(game.world.objects[object - 1], game.player);
        }
      }
      visit(column, row, seen);
    }
  }
}

void blit(const uint8_t* tile, int column, int row, uint8_t* frame) {
  uint8_t* to = frame + row * kUnit * kRowBytes + column * kTileRowBytes;
  for (int y = 0; y < kUnit; ++y) std::memcpy(to + y * kRowBytes, tile + y * kTileRowBytes, kTileRowBytes);
}

// By day a lit cell depends on nothing but its tile and the daylight: each tile is lit once a frame.
void draw_day(const Art& art, const Game& game, uint8_t* frame) {
  std::array<const Art::Tile*, kViewX * kViewY> lit;
  std::array<std::array<uint8_t, kTileBytes>, kViewX * kViewY> pictures;
  size_t count = 0;
  look_around(game, [&](int column, int row, Seen seen) {
    const Art::Tile& tile = art.tile(seen.material, seen.look);
    size_t at = 0;
    while (at < count && lit[at] != &tile) ++at;
    if (at == count) {
      lit[count++] = &tile;
      kernels().light_tile(tile.day, tile.twice_night, game.world.daylight, pictures[at].data());
    }
    blit(pictures[at].data(), column, row, frame);
  });
}

void draw_night(const Art& art, Game& game, uint8_t* frame) {
  alignas(64) std::array<uint8_t, 3 * kViewPixels> planes;
  look_around(game, [&](int column, int row, Seen seen) {
    const Art::Tile& tile = art.tile(seen.material, seen.look);
    for (int channel = 0; channel < 3; ++channel) {
      uint8_t* to = planes.data() + channel * kViewPixels + row * kUnit * kViewStride + column * kUnit;
      // The spare byte falls where the next column will be, or off the picture.
      for (int y = 0; y < kUnit; ++y) std::memcpy(to + y * kViewStride, tile.planes[channel][y], kUnit + 1);
    }
  });
  std::array<uint32_t, kNightDraws> draws;
  game.world.random.fill(draws.data(), draws.size());
  kernels().light_night(planes.data(), draws.data(), art.vignette(), game.world.daylight);
  kernels().interleave(planes.data(), frame, kRowBytes);
}

}  // namespace

const std::vector<std::string>& look_names() {
  static const std::vector<std::string> names = {
      "player-left", "player-right", "player-up",   "player-down", "player-sleep", "cow",   "zombie",
      "skeleton",    "arrow-left",   "arrow-right", "arrow-up",    "arrow-down",   "plant", "plant-ripe",
  };
  return names;
}

Look look_of(const Object& object, const Player& player) {
  const auto facing = [](Look left, int dx, int dy) {
    const int turn = dx < 0 ? 0 : dx > 0 ? 1 : dy < 0 ? 2 : 3;
    return static_cast<Look>(static_cast<int>(left) + turn);
  };
  switch (object.kind) {
    case Kind::kPlayer:
      return player.sleeping ? Look::kPlayerSleep : facing(Look::kPlayerLeft, player.dx, player.dy);
    case Kind::kCow:
      return Look::kCow;
    case Kind::kZombie:
      return Look::kZombie;
    case Kind::kSkeleton:
      return Look::kSkeleton;
    case Kind::kArrow:
      return facing(Look::kArrowLeft, object.dx, object.dy);
    case Kind::kPlant:
      return object.timer > kRipe ? Look::kPlantRipe : Look::kPlant;
  }
  return Look::kNone;
}

Art::Art(const Rules& rules, const std::vector<uint8_t>& tiles, const std::vector<uint16_t>& nights,
         const std::vector<uint8_t>& items, const std::vector<double>& vignette) {
  const auto num_tiles = static_cast<size_t>((rules.num_materials + 1) * kLooks);
  const auto num_items = static_cast<size_t>(rules.num_items * (kMostCount + 1));
  if (tiles.size() != num_tiles * kTileBytes || nights.size() != tiles.size() ||
      items.size() != num_items * kTileBytes || vignette.size() != size_t{kViewWidth} * kViewHeight) {
    throw std::invalid_argument("art: tables of wrong sizes");
  }
  if (rules.num_items > 2 * kViewX) throw std::invalid_argument("art: more items than a frame shows");
  tiles_.resize(num_tiles);
  for (size_t i = 0; i < num_tiles; ++i) {
    std::memcpy(tiles_[i].day, tiles.data() + i * kTileBytes, kTileBytes);
    std::memcpy(tiles_[i].twice_night, nights.data() + i * kTileBytes, sizeof(tiles_[i].twice_night));
    for (int at = 0; at < kTileBytes; ++at) {
      tiles_[i].planes[at % 3][at / 3 / kUnit][at / 3 % kUnit] = tiles_[i].day[at];
    }
  }
  items_.resize(num_items);
  for (size_t i = 0; i < num_items; ++i) std::memcpy(items_[i].data(), items.data() + i * kTileBytes, kTileBytes);
  vignette_.assign(kViewPixels, 0.0);
  for (size_t x = 0; x < kViewWidth; ++x) {
    for (size_t y = 0; y < kViewHeight; ++y) vignette_[y * kViewStride + x] = vignette[x * kViewHeight + y];
  }
}

void draw_frame(const Rules& rules, const Art& art, Game& game, uint8_t* frame) {
  if (game.world.daylight < kNightBelow) {
    draw_night(art, game, frame);
  } else {
    draw_day(art, game, frame);
  }
  if (game.player.sleeping) {
    for (int y = 0; y < kViewHeight; ++y) kernels().dim(frame + y * kRowBytes, kViewWidth);
  }
  for (int id = 0; id < 2 * kViewX; ++id) {
    const int count = id < rules.num_items ? game.player.inventory[static_cast<size_t>(id)] : 0;
    blit(art.item(id < rules.num_items ? id : 0, count), id % kViewX, kViewY + id / kViewX, frame);
  }
  for (int y = 0; y < kFrame - 1; ++y) std::memset(frame + y * kRowBytes + 3 * kViewWidth, 0, 3);
  std::memset(frame + (kFrame - 1) * kRowBytes, 0, kRowBytes);
}

void draw_symbols(const Rules& rules, Game& game, const Symbols& out) {
  look_around(game, [&out](int column, int row, Seen seen) {
    const int at = column * kViewY + row;
    out.view[at] = seen.material;
    out.view[kViewX * kViewY + at] = static_cast<uint8_t>(seen.look);
  });
  for (int id = 0; id < rules.num_items; ++id) {
    out.inventory[id] = static_cast<uint8_t>(game.player.inventory[static_cast<size_t>(id)]);
  }
  const auto daylight = static_cast<float>(game.world.daylight);
  std::memcpy(out.daylight, &daylight, sizeof daylight);
  if (game.world.daylight < kNightBelow) game.world.random.skip(kNightDraws);
}

void draw_map(const Game& game, uint8_t* out) {
  std::memcpy(out, game.world.materials().data(), kCells);
  std::memset(out + kCells, 0, kCells);
  for (const Object& object : game.world.objects) {
    out[kCells + cell(object.x, object.y)] = static_cast<uint8_t>(look_of(object, game.player));
  }
}

void draw_semantic(const Rules& rules, const Game& game, uint8_t* out) {
  std::memcpy(out, game.world.materials().data(), kCells);
  for (const Object& object : game.world.objects) {
    out[cell(object.x, object.y)] = static_cast<uint8_t>(rules.num_materials + 1 + static_cast<int>(object.kind));
  }
}

}  // namespace crafter
