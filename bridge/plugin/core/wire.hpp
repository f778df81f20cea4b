// One connection to a sidecar. The sessions of many instances share it, each on a line of its own; what
// they say in one turn of the I/O thread travels as one message. Lives on that thread.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "codec.hpp"
#include "connection.hpp"

namespace dawbridge {

// Who is called on a line.
class Listener {
public:
    virtual void hear(const Message& message) = 0;

protected:
    ~Listener() = default;
};

class Wire {
public:
    // Connects; `trouble` is not empty if that failed. `context` is ZeroMQ's.
    Wire(void* context, const Connection& connection);
    ~Wire();
    Wire(const Wire&) = delete;
    Wire& operator=(const Wire&) = delete;

    const Connection& connection() const { return connection_; }
    const std::string& trouble() const { return trouble_; }

    // A line of one's own; only where one is free.
    int join(Listener& listener);
    bool free() const;
    void leave(int line);

    // How many lines the sidecar has, from its first welcome on.
    void offers(int lines) { lines_ = lines; }
    bool asking() const { return lines_ == 0; }

    // Nobody new may come: something is wrong with it.
    void retire() { retired_ = true; }
    bool retired() const { return retired_; }

    // Say something, with the next `flush`; memory for `floats` samples that go with it, if any.
    float* say(int line, const Bytes& header, size_t floats = 0);
    void flush();

    // Wait that long, in the end, for what was said to leave.
    void linger(int milliseconds) { linger_ms_ = milliseconds; }

    // Whether something with the right keys is at the other end.
    bool answers() const { return answers_; }

    // Tell the listeners what has come.
    void listen();

private:
    struct Parcel {
        std::vector<Item> items;
        std::vector<float> samples;
        size_t bytes = 0;  // of the headers
    };

    void watch(void* context);
    void look();
    bool send(const Parcel& parcel);
    void pass_on(int line, const Message& message);

    const Connection connection_;
    std::string trouble_;
    void* socket_ = nullptr;
    void* monitor_ = nullptr;
    std::vector<Listener*> listeners_;
    std::deque<Parcel> parcels_;
    Parcel spare_;  // memory for the next one
    std::vector<char> inbox_;
    Message message_, inner_;
    int lines_ = 0, linger_ms_ = 0;
    bool retired_ = false, answers_ = false;
};

// The connections of a process.
class Exchange {
public:
    explicit Exchange(void* context) : context_(context) {}

    // A connection on which a line is free; null if one is being made and may have some.
    std::shared_ptr<Wire> find(const Connection& connection);

    void listen();
    void flush();

private:
    void* const context_;
    std::vector<std::weak_ptr<Wire>> wires_;
};

}  // namespace dawbridge
