#include "state.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <vector>

namespace crafter {
namespace {

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "states are little-endian, and are copied as they lie"
#endif

// No count, clock or growth of an honest game comes near this, and sums of a few of them fit an int.
constexpr int kMost = 100'000'000;

class Writer {
 public:
  template <typename T, typename Value>
  void put(Value value) {
    static_assert(std::is_arithmetic_v<T>);
    const T narrowed = static_cast<T>(value);
    char raw[sizeof(T)];
    std::memcpy(raw, &narrowed, sizeof(T));
    bytes.append(raw, sizeof(T));
  }
  std::string bytes;
};

class Reader {
 public:
  explicit Reader(const std::string& bytes) : bytes_(bytes) {}

  template <typename T>
  T any() {
    if (bytes_.size() - at_ < sizeof(T)) throw BadState("state: the game is cut short");
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  // A whole number from low to high, both allowed.
  template <typename T>
  int whole(int64_t low, int64_t high, const char* what) {
    const auto value = static_cast<int64_t>(any<T>());
    if (value < low || value > high) throw BadState(std::string("state: no game has such a ") + what);
    return static_cast<int>(value);
  }
  double need() {
    const auto value = any<double>();
    if (!(std::abs(value) <= 100)) throw BadState("state: no game has such hunger, thirst, fatigue or recovery");
    return value;
  }
  void end() const {
    if (at_ != bytes_.size()) throw BadState("state: the game has bytes too many");
  }

 private:
  const std::string& bytes_;
  size_t at_ = 0;
};

std::array<int, 2> direction(Reader& in) {
  const int dx = in.whole<int8_t>(-1, 1, "direction");
  const int dy = in.whole<int8_t>(-1, 1, "direction");
  return {dx, dy};
}

void check_direction(int dx, int dy) {
  if (std::abs(dx) + std::abs(dy) != 1) throw BadState("state: no game has such a direction");
}

std::vector<Object> decode_objects(Reader& in, int num_places, std::vector<int>& places) {
  std::vector<Object> objects(static_cast<size_t>(in.whole<uint32_t>(1, kCells, "number of objects")));
  std::vector<bool> taken(kCells);
  for (Object& object : objects) {
    places.push_back(in.whole<uint32_t>(places.empty() ? 1 : places.back() + 1, num_places - 1, "place of an object"));
    object.kind = static_cast<Kind>(in.whole<uint8_t>(0, kKinds - 1, "kind of object"));
    object.x = static_cast<uint8_t>(in.whole<uint8_t>(0, kArea - 1, "position"));
    object.y = static_cast<uint8_t>(in.whole<uint8_t>(0, kArea - 1, "position"));
    object.health = static_cast<int16_t>(in.whole<int32_t>(0, 100, "health"));
    object.timer = in.whole<int32_t>(0, kMost, "timer");
    const auto [dx, dy] = direction(in);
    object.dx = static_cast<int8_t>(dx);
    object.dy = static_cast<int8_t>(dy);
    if (object.kind == Kind::kArrow) check_direction(dx, dy);
    if ((object.kind == Kind::kPlayer) != (&object == &objects.front())) {
      throw BadState("state: no game has its player but first among the objects");
    }
    if (taken[cell(object.x, object.y)]) throw BadState("state: no game has two objects in one place");
    taken[cell(object.x, object.y)] = true;
  }
  return objects;
}

// Chunks in their order; the objects' arrivals are numbered anew in the order of the members.
std::vector<uint8_t> decode_chunks(Reader& in, const std::vector<int>& places, std::vector<Object>& objects) {
  struct Row {
    uint8_t chunk;
    int count;
  };
  std::vector<Row> rows(static_cast<size_t>(in.whole<uint32_t>(1, kChunks, "number of chunks")));
  std::vector<uint8_t> chunks;
  std::array<bool, kChunks> known{};
  for (Row& row : rows) {
    const int x = in.whole<uint8_t>(0, kArea - 1, "chunk");
    const int y = in.whole<uint8_t>(0, kArea - 1, "chunk");
    row.chunk = static_cast<uint8_t>(chunk_of(x, y));
    row.count = in.whole<uint32_t>(0, kChunk * kChunk, "number of objects in a chunk");
    if (x % kChunk || y % kChunk || known[row.chunk]) throw BadState("state: no game has such a chunk");
    known[row.chunk] = true;
    chunks.push_back(row.chunk);
  }
  const int num_members = in.whole<uint32_t>(1, kCells, "number of members");
  uint32_t arrivals = 0;
  std::vector<bool> seen(objects.size());
  for (const Row& row : rows) {
    for (int i = 0; i < row.count; ++i) {
      const int place = in.whole<uint32_t>(1, kMost, "member");
      const auto found = std::lower_bound(places.begin(), places.end(), place);
      const auto index = static_cast<size_t>(found - places.begin());
      if (found == places.end() || *found != place || seen[index] ||
          chunk_of(objects[index].x, objects[index].y) != row.chunk) {
        throw BadState("state: no game has such a member of a chunk");
      }
      seen[index] = true;
      objects[index].arrival = arrivals++;
    }
  }
  if (arrivals != objects.size() || static_cast<size_t>(num_members) != objects.size()) {
    throw BadState("state: no game has an object in no chunk");
  }
  return chunks;
}

}  // namespace

std::string encode(const Game& game, const Rules& rules) {
  const World& world = game.world;
  const Player& player = game.player;
  const auto items = static_cast<size_t>(rules.num_items);
  const auto skills = static_cast<size_t>(rules.num_skills);
  Writer out;
  out.put<int64_t>(game.progress.steps);
  out.put<int32_t>(game.progress.last_health);
  for (size_t i = 0; i < skills; ++i) out.put<uint8_t>(game.progress.unlocked >> i & 1u);
  for (const uint32_t word : world.random.key()) out.put<uint32_t>(word);
  out.put<int32_t>(world.random.pos());
  for (const uint8_t material : world.materials()) out.put<uint8_t>(material);
  out.put<uint32_t>(world.objects.size() + 1);
  out.put<int8_t>(player.dx);
  out.put<int8_t>(player.dy);
  out.put<uint8_t>(player.sleeping);
  out.put<int32_t>(player.last_health);
  for (const double need : {player.hunger, player.thirst, player.fatigue, player.recover}) out.put<double>(need);
  for (size_t i = 0; i < items; ++i) out.put<uint8_t>(player.inventory[i]);
  for (size_t i = 0; i < skills; ++i) out.put<int32_t>(player.skills[i]);

  out.put<uint32_t>(world.objects.size());
  uint32_t place = 0;
  for (const Object& object : world.objects) {
    const bool is_player = object.kind == Kind::kPlayer;
    out.put<uint32_t>(++place);
    out.put<uint8_t>(object.kind);
    out.put<uint8_t>(object.x);
    out.put<uint8_t>(object.y);
    out.put<int32_t>(is_player ? player.inventory[static_cast<size_t>(rules.health)] : object.health);
    out.put<int32_t>(object.timer);
    out.put<int8_t>(object.dx);
    out.put<int8_t>(object.dy);
  }

  std::vector<std::vector<size_t>> members;
  for (const uint8_t chunk : world.chunks()) members.push_back(world.members(chunk));
  out.put<uint32_t>(members.size());
  for (size_t i = 0; i < members.size(); ++i) {
    out.put<uint8_t>(world.chunks()[i] / kChunkRows * kChunk);
    out.put<uint8_t>(world.chunks()[i] % kChunkRows * kChunk);
    out.put<uint32_t>(members[i].size());
  }
  out.put<uint32_t>(world.objects.size());
  for (const auto& chunk : members) {
    for (const size_t index : chunk) out.put<uint32_t>(index + 1);
  }
  return out.bytes;
}

void decode(const std::string& bytes, const Rules& rules, const Account& account, Game& game) {
  if (account.length < 1 || account.length > game.longest() || !std::isfinite(account.episode_return)) {
    throw BadState("state: no game has such a length or return");
  }
  const auto items = static_cast<size_t>(rules.num_items);
  const auto skills = static_cast<size_t>(rules.num_skills);
  const int most_health = rules.item_max[static_cast<size_t>(rules.health)];
  Reader in(bytes);
  Progress progress;
  progress.length = account.length;
  progress.episode_return = account.episode_return;
  progress.steps = in.whole<int64_t>(0, account.length - 1, "number of steps");
  progress.last_health = in.whole<int32_t>(0, most_health, "health");
  for (size_t i = 0; i < skills; ++i) {
    progress.unlocked |= static_cast<uint32_t>(in.whole<uint8_t>(0, 1, "unlocked skill")) << i;
  }
  std::array<uint32_t, RandomState::kSize> key;
  for (uint32_t& word : key) word = in.any<uint32_t>();
  const int pos = in.whole<int32_t>(0, RandomState::kSize, "position in its random stream");
  std::array<uint8_t, kCells> materials;
  for (uint8_t& material : materials) {
    material = static_cast<uint8_t>(in.whole<uint8_t>(1, rules.num_materials, "material"));
  }
  const int num_places = in.whole<uint32_t>(2, kMost, "number of places");
  Player player(rules);
  const auto facing = direction(in);
  check_direction(facing[0], facing[1]);
  player.dx = facing[0];
  player.dy = facing[1];
  player.sleeping = in.whole<uint8_t>(0, 1, "sleep") != 0;
  player.last_health = in.whole<int32_t>(0, most_health, "health");
  for (double* need : {&player.hunger, &player.thirst, &player.fatigue, &player.recover}) *need = in.need();
  for (size_t i = 0; i < items; ++i) player.inventory[i] = in.whole<uint8_t>(0, rules.item_max[i], "inventory");
  for (size_t i = 0; i < skills; ++i) player.skills[i] = in.whole<int32_t>(0, kMost, "count of a skill");

  std::vector<int> places;
  std::vector<Object> objects = decode_objects(in, num_places, places);
  const std::vector<uint8_t> chunks = decode_chunks(in, places, objects);
  in.end();
  World world(rules);
  world.restore(materials, objects, chunks);
  world.random.restore(key, pos);
  game.resume(world, player, progress);
}

}  // namespace crafter
