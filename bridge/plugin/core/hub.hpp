// The one I/O thread and the one ZeroMQ context of this process, shared by all instances.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "link.hpp"

namespace dawbridge {

// One activation's seat at the hub.
struct Seat {
    std::shared_ptr<Port> port;
    Hello wish;
    bool start = false;  // start a sidecar if none runs
    std::atomic<bool> leaving{false};

    // Written by the I/O thread under `lock`, for whoever asks.
    std::mutex lock;
    Welcome welcome;
    uint64_t welcomes = 0;
    std::string trouble;
};

class Hub {
public:
    // The hub of this process; made when first needed, gone with its last user.
    static std::shared_ptr<Hub> shared();
    ~Hub();

    void take(std::shared_ptr<Seat> seat);

    // Wait for the sidecar's terms, at most `limit_ms`, or `patience_ms` if it answers at all but has them not
    // ready yet; not at all where nobody answered before.
    bool await(Seat& seat, int limit_ms, int patience_ms);

    // The latest terms given to a plug-in with these wishes; they save a wait when no sidecar runs.
    bool remembered(const Hello& wish, Welcome& welcome);

private:
    struct Guest {
        std::shared_ptr<Seat> seat;
        std::unique_ptr<Link> link;
    };

    Hub();
    void run();
    void admit();
    void serve(Guest& guest, int64_t now_ns);
    void publish(Guest& guest);
    int nap_us() const;

    void* context_;
    Exchange exchange_;
    std::mutex lock_;
    std::vector<std::shared_ptr<Seat>> fresh_;
    std::vector<std::pair<Hello, Welcome>> memory_;
    std::vector<Guest> guests_;  // the I/O thread's own
    uint64_t silent_ = 0;        // signature of a connection file behind which nobody answered
    int64_t started_ = 0;        // when a sidecar was last started
    std::atomic<bool> over_{false};
    std::thread thread_;
};

// Starts `dawbridge serve` on its own; false if it cannot. The command is DAWBRIDGE_COMMAND, or what
// `dawbridge plugin install` left beside the keys, or `dawbridge` on the PATH.
bool start_sidecar();

}  // namespace dawbridge
