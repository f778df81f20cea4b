// One session with a sidecar, found again whenever it is lost. Lives on the I/O thread and is pumped there;
// says and hears nothing by itself.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "codec.hpp"
#include "connection.hpp"
#include "port.hpp"
#include "score.hpp"

namespace dawbridge {

class Link {
public:
    // `context` is ZeroMQ's; `wish` is what to ask for.
    Link(void* context, std::shared_ptr<Port> port, Hello wish);
    ~Link();
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;

    // Do what is due now, by a clock that only grows.
    void pump(int64_t now_ns);

    // Leave the sidecar in good order.
    void close();

    bool busy() const { return socket_ != nullptr; }
    const Welcome& welcome() const { return welcome_; }   // of the latest session
    uint64_t welcomes() const { return welcomes_; }
    const std::string& trouble() const { return trouble_; }
    const Hello& wish() const { return wish_; }

private:
    void retry();
    void connect(const Connection& connection);
    void disconnect(int linger_ms);
    void listen();
    void handle(const Message& message);
    void welcomed(const Welcome& welcome);
    void refused(const Refusal& refusal);
    void heard(const Events& events);
    void lose(const std::string& trouble);
    void back_off();
    void beat();
    void forward();
    bool forward_one();
    size_t gather(size_t& blocks) const;
    void command(Head::Kind kind);
    void discard();
    void deliver();
    bool say(const Bytes& header);
    bool say(const Bytes& header, const std::vector<float>& samples, size_t count);

    void* const context_;
    const std::shared_ptr<Port> port_;
    Hello wish_;
    void* socket_ = nullptr;
    Message message_;
    Welcome welcome_;
    Score score_;
    std::vector<char> inbox_;
    std::vector<float> scratch_;
    std::vector<Cue> translated_;
    std::deque<Cue> backlog_;  // cues for which the ring has no room yet
    std::deque<int64_t> waiting_;  // audio messages not yet acknowledged
    std::string trouble_;
    uint64_t seen_ = 0, welcomes_ = 0;
    int64_t now_ = 0, heard_ = 0, pinged_ = 0, retry_ = 0, looked_ = 0, welcomed_at_ = 0;
    int64_t back_off_ = 0, heartbeat_ = 500'000'000;
    int64_t seq_ = 0, final_until_ = 0;
    bool configuring_ = false;
};

}  // namespace dawbridge
