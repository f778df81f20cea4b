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
#include "wire.hpp"

namespace dawbridge {

class Link final : private Listener {
public:
    // `wish` is what to ask for.
    Link(Exchange& exchange, std::shared_ptr<Port> port, Hello wish);
    ~Link();
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;

    // Do what is due now, by a clock that only grows. What has come was heard before.
    void pump(int64_t now_ns);

    // Leave the sidecar in good order.
    void close();

    bool busy() const { return wire_ != nullptr; }
    const Welcome& welcome() const { return welcome_; }   // of the latest session
    uint64_t welcomes() const { return welcomes_; }
    const std::string& trouble() const { return trouble_; }
    const Hello& wish() const { return wish_; }

private:
    void retry();
    void connect(const Connection& connection);
    void disconnect();
    void hear(const Message& message) override;
    void welcomed(const Welcome& welcome);
    void refused(const Refusal& refusal);
    bool make_do(const std::string& trouble);
    void heard(const Events& events);
    void lose(const std::string& trouble);
    void back_off();
    void beat();
    void forward();
    bool forward_one();
    int64_t due() const;
    size_t gather(size_t& blocks) const;
    void begin_stream();
    void forget_sent();
    void post(const Head& first, size_t samples);
    void command(Head::Kind kind);
    void discard();
    void deliver();
    void say(const Bytes& header);

    Exchange& exchange_;
    const std::shared_ptr<Port> port_;
    Hello wish_;
    const Hello asked_;  // as it was before anything else had to do
    std::shared_ptr<Wire> wire_;
    int line_ = 0;
    Welcome welcome_;
    Score score_;
    std::vector<Cue> translated_;
    std::deque<Cue> backlog_;  // cues for which the ring has no room yet
    struct Sent {
        int64_t seq, samples;
    };
    std::deque<Sent> waiting_;  // audio messages not yet acknowledged
    std::string trouble_;
    uint64_t seen_ = 0, welcomes_ = 0;
    int64_t now_ = 0, heard_ = 0, pinged_ = 0, retry_ = 0, looked_ = 0, welcomed_at_ = 0;
    int64_t back_off_ = 0, heartbeat_ = 500'000'000;
    int64_t seq_ = 0, final_until_ = 0, unacknowledged_ = 0;  // the last in samples
    int64_t due_ = 0, sent_until_ = 0, stream_seq_ = 0;       // the last: message that began the stream
    bool configuring_ = false;
    Resort resort_ = Resort::none;
    std::string regret_;  // why what was asked for cannot be had
};

}  // namespace dawbridge
