// Messages <-> msgpack, the subset that the protocol uses. Decoding never reads beyond its bytes, never
// allocates more than the bytes could fill, and never throws.
#pragma once

#include <string>

#include "messages.hpp"

namespace dawbridge {

using Bytes = std::string;

Bytes encode(const Hello& hello, int oldest = protocol_version, int newest = protocol_version);
Bytes encode(const Configure& change);
Bytes encode_audio(int64_t seq, int64_t start, int64_t samples, const Transport& transport);
Bytes encode_flush(int64_t seq, const std::string& reason);
Bytes encode_ping(int64_t sent_ns);
Bytes encode_status();
Bytes encode_goodbye();
Bytes encode_bundle(const std::vector<Item>& items);

enum class Kind { malformed, unknown, welcome, refusal, events, pong, goodbye, bundle };

// One message from the sidecar; only the member that `kind` names is meaningful. Kept and filled again
// and again, so that a stream of events allocates nothing after a while.
struct Message {
    Kind kind = Kind::malformed;
    Welcome welcome;
    Refusal refusal;
    Events events;
    Pong pong;
    Goodbye goodbye;
    std::vector<Letter> bundle;  // they lie in the bytes that were decoded
};

Kind decode(const void* bytes, size_t size, Message& message);

}  // namespace dawbridge
