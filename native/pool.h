// Threads that share a batch of work with the caller, and use their idle time.

#ifndef CRAFTER_POOL_H_
#define CRAFTER_POOL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace crafter {

class Pool {
 public:
  // Neither what it is given here nor the work of a batch may throw: in a thread nobody could catch it. The constructor
  // raises std::system_error where a thread can't be started.
  //
  // `threads` work on a batch, the caller's among them. Between batches the others call `idle` for as long as it
  // returns true, which says that it found something to do; `has_idle` says whether it would.
  Pool(int threads, std::function<bool()> idle, std::function<bool()> has_idle);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Calls work(i) once for each i < count, and returns when all calls have returned. One caller at a time.
  void run(int count, const std::function<void(int)>& work);

  // There is something new for idle threads.
  void wake();

  // From now on as many threads as take part in batches also serve idle work beside the caller.
  void add_background();

 private:
  // A batch, as one word that is changed atomically: its number, the next unit, and how many units there are.
  struct Ticket {
    uint32_t batch;
    uint16_t next;
    uint16_t units;
  };
  static uint64_t pack(const Ticket& ticket);
  static Ticket unpack(uint64_t word);

  void start(bool takes_batches);
  void stop();
  void live(bool takes_batches);
  bool has_batch() const;
  // Works on units of the batch for as long as there are any.
  bool share();

  const int threads_;
  const std::function<bool()> idle_;
  const std::function<bool()> has_idle_;

  // The batch: set by the caller while no unit of the last one is unfinished.
  const std::function<void(int)>* work_ = nullptr;
  int count_ = 0;
  int grain_ = 1;
  std::atomic<uint64_t> ticket_{0};
  std::atomic<int> unfinished_{0};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
  bool background_ = false;
};

}  // namespace crafter

#endif  // CRAFTER_POOL_H_
