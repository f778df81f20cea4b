#include "hub.hpp"

#include <algorithm>
#include <chrono>

#include <zmq.h>

#include "nap.hpp"

namespace dawbridge {

namespace {

constexpr int64_t start_every = 30'000'000'000;  // ns; a sidecar needs a while to load

int64_t now() {
    using namespace std::chrono;
    return duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count();
}

bool alike(const Hello& a, const Hello& b) {
    return a.rate == b.rate && a.max_block == b.max_block && a.presets == b.presets &&
           (a.contents == b.contents || a.contents.empty() || b.contents.empty());
}

}  // namespace

std::shared_ptr<Hub> Hub::shared() {
    static std::mutex lock;
    static std::weak_ptr<Hub> known;
    const std::lock_guard<std::mutex> guard(lock);
    std::shared_ptr<Hub> hub = known.lock();
    if (!hub) known = hub = std::shared_ptr<Hub>(new Hub());
    return hub;
}

Hub::Hub() : context_(zmq_ctx_new()), exchange_(context_), thread_([this] { run(); }) {}

Hub::~Hub() {
    over_ = true;
    thread_.join();
    zmq_ctx_term(context_);
}

void Hub::take(std::shared_ptr<Seat> seat) {
    const std::lock_guard<std::mutex> guard(lock_);
    fresh_.push_back(std::move(seat));
}

bool Hub::await(Seat& seat, int limit_ms, int patience_ms) {
    constexpr int64_t millisecond = 1'000'000;
    const int64_t begin = now();
    const uint64_t signature = connection_signature();
    {
        const std::lock_guard<std::mutex> guard(lock_);
        if (signature != 0 && signature == silent_) return false;
    }
    const auto limit = [&] { return seat.port->answered ? patience_ms : limit_ms; };
    while (now() - begin < limit() * millisecond) {
        const bool tried = seat.port->tried;  // before the state, which is set before it
        const State state = seat.port->state;
        if (state == State::ready) {
            const std::lock_guard<std::mutex> guard(seat.lock);
            if (seat.welcomes > 0) return true;
        } else if (tried && state != State::greeting) {
            return false;
        }
        nap(500);
    }
    const std::lock_guard<std::mutex> guard(lock_);
    silent_ = signature;
    return false;
}

bool Hub::remembered(const Hello& wish, Welcome& welcome) {
    const std::lock_guard<std::mutex> guard(lock_);
    for (const auto& [known, terms] : memory_)
        if (alike(known, wish)) return welcome = terms, true;
    return false;
}

void Hub::run() {
    while (!over_) {
        admit();
        const int64_t time = now();
        exchange_.listen();
        for (Guest& guest : guests_) serve(guest, time);
        exchange_.flush();
        const auto left = [](const Guest& guest) { return guest.link == nullptr; };
        guests_.erase(std::remove_if(guests_.begin(), guests_.end(), left), guests_.end());
        nap(nap_us());
    }
    admit();
    for (Guest& guest : guests_) guest.link->close();
    guests_.clear();
}

void Hub::admit() {
    const std::lock_guard<std::mutex> guard(lock_);
    for (auto& seat : fresh_) {
        auto link = std::make_unique<Link>(exchange_, seat->port, seat->wish);
        guests_.push_back({seat, std::move(link)});
    }
    fresh_.clear();
}

void Hub::serve(Guest& guest, int64_t time) {
    if (guest.seat->leaving) {
        guest.link->close();
        guest.link.reset();
        return;
    }
    guest.link->pump(time);
    publish(guest);
    const Port& port = *guest.seat->port;
    const bool alone = port.state == State::lost && port.tried && guest.seat->start;
    if (!alone || (started_ != 0 && time - started_ < start_every)) return;
    started_ = time;
    start_sidecar();
}

void Hub::publish(Guest& guest) {
    Seat& seat = *guest.seat;
    if (seat.welcomes == guest.link->welcomes() && seat.trouble == guest.link->trouble()) return;
    {
        const std::lock_guard<std::mutex> guard(seat.lock);
        seat.trouble = guest.link->trouble();
        if (seat.welcomes == guest.link->welcomes()) return;
        seat.welcome = guest.link->welcome();
        seat.welcomes = guest.link->welcomes();
    }
    const std::lock_guard<std::mutex> guard(lock_);
    silent_ = 0;
    const auto same = [&](const auto& entry) { return alike(entry.first, seat.wish); };
    memory_.erase(std::remove_if(memory_.begin(), memory_.end(), same), memory_.end());
    memory_.emplace_back(seat.wish, seat.welcome);
}

// How long to sleep: short when somebody waits, longer the more there is to do in one turn.
int Hub::nap_us() const {
    bool live = false;
    for (const Guest& guest : guests_) {
        if (guest.link->wish().offline && guest.link->busy()) return 50;
        live |= guest.link->busy();
    }
    if (!live) return 2000;
    return guests_.size() <= 12 ? 1000 : 2000;
}

}  // namespace dawbridge
