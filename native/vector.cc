#include "vector.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <system_error>
#include <thread>
#include <utility>

namespace crafter {
namespace {

constexpr int kViewBytes = kSymbolicCells;

// How far the world of a slot's next episode is.
enum Ready : uint8_t { kNoPlan, kWanted, kBeingMade, kMade, kFailed };

}  // namespace

// A step in the background: what to do, and its results until they are received.
struct Vector::Sent {
  int64_t action = 0;
  std::array<uint8_t, kFrameBytes> pixels;
  std::array<uint8_t, kViewBytes> view;
  std::array<uint8_t, kMostItems> inventory;
  float daylight = 0;
  float reward = 0;
  uint8_t termination = 0;
  uint8_t truncation = 0;
  bool has_ended = false;
  Ended ended;

  StepRows rows() {
    const auto one = [](void* value) { return Rows{static_cast<uint8_t*>(value), 0}; };
    return {{one(pixels.data()), one(view.data()), one(inventory.data()), one(&daylight)},
            one(&reward),
            one(&termination),
            one(&truncation)};
  }
};

struct Vector::Slot {
  Slot(const Rules& rules, const Daylight& daylight) : game(rules, daylight), next_world(rules) {}

  Game game;
  bool started = false;
  bool in_flight = false;
  Episode next;
  World next_world;
  std::atomic<uint8_t> ready{kNoPlan};
  // Why `ready` is kFailed.
  std::exception_ptr trouble;
  std::unique_ptr<Sent> sent;
};

Vector::Vector(std::shared_ptr<const Rules> rules, std::shared_ptr<const Art> art, Daylight daylight, Observe observe,
               int num_slots, int num_threads)
    : rules_(std::move(rules)),
      art_(std::move(art)),
      daylight_(std::move(daylight)),
      generator_(*rules_),
      observe_(observe) {
  if (num_slots < 1 || num_slots > kMostSlots) {
    throw Refused("num_envs: needs 1 to " + std::to_string(kMostSlots) + ", got " + std::to_string(num_slots));
  }
  if (num_threads < 1 || num_threads > kMostThreads) {
    throw Refused("num_threads: needs 1 to " + std::to_string(kMostThreads) + ", got " + std::to_string(num_threads));
  }
  if (daylight_.size() < 2) throw Refused("daylight: needs at least one step");
  slots_.reserve(static_cast<size_t>(num_slots));
  for (int i = 0; i < num_slots; ++i) slots_.push_back(std::make_unique<Slot>(*rules_, daylight_));
  try {
    pool_ = std::make_unique<Pool>(
        num_threads, [this] { return step_sent() || prepare_one(); },
        [this] { return num_waiting_.load() > 0 || wanted_.load() > 0; });
  } catch (const std::system_error& error) {
    throw Refused("num_threads: " + std::to_string(num_threads) + " can't be started (" + error.what() + ")");
  }
}

Vector::~Vector() = default;

Vector::Slot& Vector::at(int slot) const {
  if (slot < 0 || slot >= num_slots()) {
    throw Refused("slot: " + std::to_string(slot) + " is not a slot, allowed are 0 to " +
                  std::to_string(num_slots() - 1));
  }
  return *slots_[static_cast<size_t>(slot)];
}

Vector::Slot& Vector::idle(int slot) const {
  Slot& found = at(slot);
  if (found.in_flight) throw Refused("slot " + std::to_string(slot) + " is being stepped, receive it first");
  return found;
}

const Game& Vector::look(int slot) const {
  const Slot& found = idle(slot);
  if (!found.started) throw Refused("slot " + std::to_string(slot) + " has no game yet, call reset first");
  return found.game;
}

template <typename Work>
void Vector::guard(int slot, const char* doing, const Work& work) noexcept {
  if (failed_.load(std::memory_order_relaxed)) return;
  try {
    work();
  } catch (...) {
    fail(slot, doing, std::current_exception());
  }
}

void Vector::fail(int slot, const char* doing, std::exception_ptr error) noexcept {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (failed_) return;
    failed_slot_ = slot;
    failed_doing_ = doing;
    failure_ = std::move(error);
    failed_ = true;
  }
  done_changed_.notify_all();
}

void Vector::raise(bool first) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::string why;
  bool no_memory = false;
  try {
    std::rethrow_exception(failure_);
  } catch (const std::bad_alloc&) {
    why = "no memory left";
    no_memory = first;
  } catch (const std::exception& error) {
    why = error.what();
  } catch (...) {
    why = "an unknown exception";
  }
  throw Failure("the Crafter engine failed in slot " + std::to_string(failed_slot_) + " while " + failed_doing_ + " (" +
                    why + "); its games are lost, make the environments anew",
                no_memory);
}

void Vector::check_whole() const {
  if (failed_) raise(false);
}

void Vector::check(const std::vector<Move>& moves) const {
  std::vector<bool> named(slots_.size());
  for (const Move& move : moves) {
    look(move.slot);
    const auto refuse = [&move](const std::string& what) { throw Refused("slot " + std::to_string(move.slot) + what); };
    if (at(move.slot).ready == kNoPlan) refuse(" has no plan for its next episode");
    if (named[static_cast<size_t>(move.slot)]) refuse(" is named twice");
    named[static_cast<size_t>(move.slot)] = true;
    if (move.action < 0 || move.action >= rules_->num_actions()) {
      refuse(": " + std::to_string(move.action) + " is not an action, allowed are 0 to " +
             std::to_string(rules_->num_actions() - 1));
    }
  }
}

void Vector::plan(int slot, const Episode& episode) {
  Slot& found = idle(slot);
  if (episode.length < 1 || static_cast<size_t>(episode.length) >= daylight_.size()) {
    throw Refused("length: needs 1 to " + std::to_string(daylight_.size() - 1) + " steps, got " +
                  std::to_string(episode.length));
  }
  const uint8_t start = episode.plan.terrain.start_material;
  if (start < 1 || start > rules_->num_materials) throw Refused("start material: there is none with this id");
  for (int id = 0; id < kMostItems; ++id) {
    const int count = episode.items[static_cast<size_t>(id)];
    if (count < 0 || count > rules_->item_max[static_cast<size_t>(id)]) {
      throw Refused("items: " + std::to_string(count) + " is not a count of item " + std::to_string(id));
    }
  }
  // Take the old plan away from whoever makes its world.
  uint8_t ready = found.ready.load();
  while (ready == kBeingMade || (ready == kWanted && !found.ready.compare_exchange_weak(ready, kNoPlan))) {
    if (ready == kBeingMade) std::this_thread::yield();
    ready = found.ready.load();
  }
  if (ready == kWanted) --wanted_;
  const bool made = ready == kMade && found.next.plan == episode.plan;
  found.trouble = nullptr;  // of a world that nobody needs now
  found.next = episode;
  if (made) return;
  found.ready = kWanted;
  ++wanted_;
  pool_->wake();
}

bool Vector::prepare_one() {
  if (wanted_.load() <= 0) return false;
  const unsigned start = cursor_.fetch_add(1);
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = *slots_[(start + i) % slots_.size()];
    uint8_t ready = kWanted;
    if (!slot.ready.compare_exchange_strong(ready, kBeingMade)) continue;
    --wanted_;
    make_world(slot);
    return true;
  }
  return false;
}

void Vector::make_world(Slot& slot) noexcept {
  try {
    generator_.generate(slot.next.plan, slot.next_world);
    slot.ready = kMade;
  } catch (...) {
    slot.trouble = std::current_exception();
    slot.ready = kFailed;
  }
}

void Vector::begin(int index) {
  Slot& slot = at(index);
  uint8_t ready = kWanted;
  if (slot.ready.compare_exchange_strong(ready, kBeingMade)) {
    --wanted_;
    make_world(slot);
  } else {
    while (slot.ready.load() == kBeingMade) std::this_thread::yield();
  }
  if (slot.ready == kFailed) {
    fail(index, "making its next world", slot.trouble);
    std::rethrow_exception(slot.trouble);
  }
  slot.game.begin(slot.next_world, slot.next.items, slot.next.length);
  slot.started = true;
  slot.ready = kNoPlan;
}

void Vector::observe(Slot& slot, const ObservationRows& out, int row) const {
  if (observe_ == Observe::kPixels) {
    draw_frame(*rules_, *art_, slot.game, out.pixels.at(row));
  } else {
    draw_symbols(*rules_, slot.game, {out.view.at(row), out.inventory.at(row), out.daylight.at(row)});
  }
}

void Vector::reset(const ObservationRows& obs) {
  for (int i = 0; i < num_slots(); ++i) {
    if (idle(i).ready == kNoPlan) throw Refused("slot " + std::to_string(i) + " has no plan for its next episode");
  }
  pool_->run(num_slots(), [&](int i) {
    guard(i, "beginning an episode", [&] {
      begin(i);
      observe(at(i), obs, i);
    });
  });
  if (failed_) raise(true);
}

bool Vector::step_slot(const Move& move, const StepRows& out, int row, const ObservationRows* final_obs, Ended& ended) {
  Slot& slot = at(move.slot);
  const Outcome outcome = slot.game.step(static_cast<int>(move.action));
  out.rewards.put(row, static_cast<float>(outcome.reward));
  out.terminations.put(row, static_cast<uint8_t>(outcome.died));
  out.truncations.put(row, static_cast<uint8_t>(outcome.truncated));
  if (!outcome.died && !outcome.truncated) {
    observe(slot, out.obs, row);
    return false;
  }
  if (final_obs != nullptr) observe(slot, *final_obs, row);
  ended = {move.slot, slot.game.progress.steps, slot.game.progress.episode_return, outcome.truncated,
           slot.game.player.skills};
  begin(move.slot);
  observe(slot, out.obs, row);
  return true;
}

std::vector<Ended> Vector::step(const std::vector<Move>& moves, const StepRows& out, const ObservationRows* final_obs) {
  check(moves);
  std::mutex mutex;
  std::vector<Ended> all;
  pool_->run(static_cast<int>(moves.size()), [&](int i) {
    const Move& move = moves[static_cast<size_t>(i)];
    guard(move.slot, "being stepped", [&] {
      Ended ended;
      if (step_slot(move, out, move.slot, final_obs, ended)) {
        const std::lock_guard<std::mutex> lock(mutex);
        all.push_back(ended);
      }
    });
  });
  if (failed_) raise(true);
  std::sort(all.begin(), all.end(), [](const Ended& a, const Ended& b) { return a.slot < b.slot; });
  return all;
}

void Vector::send(const std::vector<Move>& moves) {
  check(moves);
  try {
    pool_->add_background();
  } catch (const std::system_error& error) {
    throw Refused(std::string("send: its thread can't be started (") + error.what() + ")");
  }
  for (const Move& move : moves) {
    Slot& slot = at(move.slot);
    if (slot.sent == nullptr) slot.sent = std::make_unique<Sent>();
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const Move& move : moves) {
      Slot& slot = at(move.slot);
      slot.sent->action = move.action;
      slot.in_flight = true;
      waiting_.push_back(move.slot);
      ++num_waiting_;
      ++in_flight_;
    }
  }
  pool_->wake();
}

bool Vector::step_sent() {
  if (num_waiting_.load() <= 0) return false;
  int index;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (waiting_.empty()) return false;
    index = waiting_.front();
    waiting_.pop_front();
    --num_waiting_;
  }
  guard(index, "being stepped", [&] {
    Sent& sent = *at(index).sent;
    sent.has_ended = step_slot({index, sent.action}, sent.rows(), 0, nullptr, sent.ended);
    bool enough;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      done_.push_back(index);
      enough = done_.size() >= awaited_;
    }
    if (enough) done_changed_.notify_one();
  });
  return true;
}

std::vector<int> Vector::receive(int count, const StepRows& out, std::vector<Ended>& ended) {
  if (count < 1 || count > in_flight_) {
    throw Refused("receive: " + std::to_string(count) + " slots are asked for, " + std::to_string(in_flight_) +
                  " are being stepped");
  }
  std::vector<int> received;
  ended.reserve(static_cast<size_t>(count));  // what runs out of memory does so before slots are taken
  {
    std::unique_lock<std::mutex> lock(mutex_);
    awaited_ = static_cast<size_t>(count);
    done_changed_.wait(lock, [&] { return failed_ || done_.size() >= awaited_; });
    if (failed_) {
      lock.unlock();
      raise(true);
    }
    received.assign(done_.begin(), done_.begin() + count);
    done_.erase(done_.begin(), done_.begin() + count);
    in_flight_ -= count;
  }
  for (int row = 0; row < count; ++row) {
    Slot& slot = at(received[static_cast<size_t>(row)]);
    const Sent& sent = *slot.sent;
    if (observe_ == Observe::kPixels) {
      std::memcpy(out.obs.pixels.at(row), sent.pixels.data(), kFrameBytes);
    } else {
      std::memcpy(out.obs.view.at(row), sent.view.data(), kViewBytes);
      std::memcpy(out.obs.inventory.at(row), sent.inventory.data(), static_cast<size_t>(rules_->num_items));
      out.obs.daylight.put(row, sent.daylight);
    }
    out.rewards.put(row, sent.reward);
    out.terminations.put(row, sent.termination);
    out.truncations.put(row, sent.truncation);
    if (sent.has_ended) ended.push_back(sent.ended);
    slot.in_flight = false;
  }
  return received;
}

std::string Vector::get_state(int slot) const { return encode(look(slot), *rules_); }

void Vector::set_state(int slot, const std::string& state, const Account& account) {
  Slot& found = idle(slot);
  decode(state, *rules_, account, found.game);
  found.started = true;
}

void Vector::forget(int slot) { idle(slot).started = false; }

}  // namespace crafter
