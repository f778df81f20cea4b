#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>

#include "../core/codec.hpp"
#include "../core/connection.hpp"
#include "check.hpp"

using namespace dawbridge;

namespace {

Bytes golden(const char* name) {
    const char* folder = std::getenv("DAWBRIDGE_GOLDEN");
    std::ifstream file(std::string(folder ? folder : "tests/protocol/golden") + "/" + name + ".bin", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

Kind decoded(const Bytes& bytes, Message& message) { return decode(bytes.data(), bytes.size(), message); }

}  // namespace

TEST(codec_writes_the_golden_bytes) {
    Hello hello;
    hello.max_block = 512;
    hello.instance = "7f0c1f9e-5d0a-4f4f-9a3e-0c9a1b2c3d4e";
    hello.name = "Flügel";
    hello.track = "Track 1 ♪";
    hello.software = "plug-in 0.1.0";
    hello.presets = {"live"};
    hello.offline = true;
    hello.monitor = false;
    hello.contents = R"({"system":{"name":"piano"}})";
    CHECK(encode(hello, 1, 3) == golden("hello"));
    Hello shortest;
    shortest.rate = 8000;
    shortest.channels = shortest.max_block = 1;
    CHECK(encode(shortest) == golden("hello-short"));
    Transport transport;
    transport.playing = transport.recording = true;
    transport.tempo_bpm = 117.5;
    transport.beats = -2.25;
    transport.bar = -4;
    transport.meter = Meter{7, 8};
    transport.position = -96000;
    CHECK(encode_audio(1, int64_t{1} << 53, 3, transport) == golden("audio"));
    CHECK(encode_audio(300, 70000, 8192, Transport()) == golden("audio-short"));
    Configure change;
    change.monitor = false;
    CHECK(encode(change) == golden("configure-short"));
    change.presets = {{"balanced"}};
    change.offline = false;
    change.monitor = true;
    change.name = "Flügel";
    change.track = "Track 2";
    CHECK(encode(change) == golden("configure"));
    CHECK(encode_flush(int64_t{1} << 32, "seek") == golden("flush"));
    CHECK(encode_ping(123456789012345) == golden("ping"));
    CHECK(encode_status() == golden("status"));
    CHECK(encode_goodbye() == golden("goodbye-plugin"));
}

TEST(codec_writes_and_reads_golden_bundles) {
    const std::vector<Item> items = {{0, encode_audio(1, 0, 2, Transport()), 8}, {255, encode_ping(5), 0}, {3, encode_audio(9, 70000, 1, Transport()), 4}};
    Message message, inner;
    CHECK(encode_bundle(items) == golden("bundle-plugin"));
    const Bytes bytes = golden("bundle-sidecar");
    CHECK(decoded(bytes, message) == Kind::bundle && message.bundle.size() == 2);
    CHECK(message.bundle[0].line == 255 && message.bundle[1].line == 0);
    CHECK(decode(message.bundle[0].header, message.bundle[0].size, inner) == Kind::events);
    CHECK(inner.events.through_seq == 12 && inner.events.due == 49163);
    CHECK(decode(message.bundle[1].header, message.bundle[1].size, inner) == Kind::pong && inner.pong.load == 0.5);
    Bytes cut = bytes;
    cut.pop_back();
    CHECK(decoded(cut, message) == Kind::malformed);
}

TEST(codec_reads_the_golden_welcome) {
    Message message;
    CHECK(decoded(golden("welcome"), message) == Kind::welcome);
    const Welcome& welcome = message.welcome;
    CHECK(welcome.protocol == 1 && welcome.epoch == int64_t{1} << 53 && welcome.session == 7);
    CHECK(welcome.latency.block == 512 && welcome.latency.total() == 512 + 161 + 960 + 960 + 960);
    CHECK(welcome.lines == 32 && welcome.contents == R"({"system":{"name":"piano"}})");
    CHECK(welcome.credit == 20 && welcome.heartbeat_ms == 250 && welcome.alignment == "immediate");
    CHECK(welcome.weights == "par-1" && welcome.instrument.channel == 10);
    CHECK(welcome.instrument.lowest == 21 && welcome.instrument.highest == 108);
    CHECK(welcome.instrument.velocities.size() == 128 && welcome.instrument.velocities[100] == 100);
    CHECK(welcome.instrument.lanes.at("dynamics") == 11 && welcome.instrument.lanes.at("sustain") == 64);
}

TEST(codec_reads_the_golden_events) {
    Message message;
    CHECK(decoded(golden("events"), message) == Kind::events);
    const Events& events = message.events;
    CHECK(events.due == 49163);
    CHECK(events.through_seq == 12 && events.final_until == 48000 && events.notes.size() == 2);
    const Note on = events.notes.at(0), off = events.notes.at(1);
    CHECK(on.on && on.time == 47000 && on.pitch == 60 && on.velocity == 0.5 && on.voice == 3 && on.channel == 15);
    CHECK(!off.on && off.time == 47500 && off.pitch == 127 && off.velocity == 0 && off.voice == 2 && off.channel == 0);
    CHECK(events.controls.size() == 1 && events.controls[0].controller == 64 && events.controls[0].channel == 1);
    CHECK(events.lanes.size() == 2 && events.lanes[0].lane == Lane::dynamics && events.lanes[1].value == 117.5);
    CHECK(decoded(golden("events-empty"), message) == Kind::events && message.events.notes.empty());
}

TEST(codec_reads_the_other_golden_messages) {
    Message message;
    CHECK(decoded(golden("refusal"), message) == Kind::refusal && message.refusal.about == "configure");
    CHECK(message.refusal.code == "version" && message.refusal.remedy == "Update dawbridge");
    CHECK(decoded(golden("pong"), message) == Kind::pong && message.pong.late == 2 && message.pong.load == 0.5);
    CHECK(decoded(golden("goodbye-sidecar"), message) == Kind::goodbye && message.goodbye.code == "shutdown");
    CHECK(decoded(golden("report"), message) == Kind::unknown);
}

TEST(codec_refuses_what_breaks_the_limits) {
    Message message;
    const std::string head = "\x83\xa4type\xa6" "events\xabthrough_seq\x01\xab" "final_until";
    CHECK(decoded(head + "\x05", message) == Kind::events);
    CHECK(decoded(head + "\xff", message) == Kind::malformed);                           // below zero
    CHECK(decoded(head + std::string("\xcb\x7f\xf0\0\0\0\0\0\0", 9), message) == Kind::malformed);  // infinite
    CHECK(decoded(head + "\x05\x05", message) == Kind::malformed);                       // more than one value
    CHECK(decoded(head, message) == Kind::malformed);
    CHECK(decoded("", message) == Kind::malformed && decoded("\x80", message) == Kind::malformed);
    CHECK(decoded("\xdf\xff\xff\xff\xff", message) == Kind::malformed);                  // claims more than is there
    CHECK(decoded("\x81\xa4type\xa3new", message) == Kind::unknown);
    CHECK(decoded(std::string("\x82\xa4type\xa3new\xa1x") + std::string(100000, '\x91') + "\xc0", message) == Kind::malformed);
}

TEST(codec_survives_any_bytes) {
    std::mt19937 random(4);
    Message message;
    int wrong = 0, right = 0;
    for (const char* name : {"welcome", "events", "refusal", "pong", "goodbye-sidecar", "report", "hello", "audio"}) {
        const Bytes whole = golden(name);
        CHECK(!whole.empty());
        for (size_t size = 0; size < whole.size(); ++size) CHECK(decoded(whole.substr(0, size), message) == Kind::malformed);
        for (int round = 0; round < 4000; ++round) {
            Bytes bytes = whole;
            for (unsigned flips = 1 + random() % 4; flips > 0; --flips)
                bytes[random() % bytes.size()] = static_cast<char>(random());
            ++(decoded(bytes, message) == Kind::malformed ? wrong : right);
            for (const Note& note : message.events.notes)
                CHECK(note.pitch >= 0 && note.pitch < 128 && note.channel >= 0 && note.channel < 16 && std::isfinite(note.velocity));
        }
    }
    CHECK(wrong > 1000 && right > 1000);
    for (int round = 0; round < 20000; ++round) {
        Bytes bytes(random() % 64, 0);
        for (char& byte : bytes) byte = static_cast<char>(random());
        decoded(bytes, message);
    }
}

TEST(connection_file_is_read_and_damage_is_noticed) {
    const std::string key(40, 'k');
    const std::string good = "{\n \"endpoint\": \"tcp://127.0.0.1:41553\",\n \"server_key\": \"" + key +
                             "\",\"client_public\":\"" + key + "\", \"client_secret\":\"" + key +
                             "\", \"protocol\": [1, 1], \"pid\": 4242, \"later\": {\"a\": [\"x\", {}]}, \"epoch\": 9007199254740992,"
                             " \"software\": \"dawbridge \\\"0.1\\\"\"\n}\n";
    Connection connection;
    CHECK(parse_connection(good, connection));
    CHECK(connection.endpoint == "tcp://127.0.0.1:41553" && connection.pid == 4242 && connection.server_key == key);
    CHECK(connection.epoch == int64_t{1} << 53);
    for (size_t size = 0; size + 2 < good.size(); ++size) {
        Connection other;
        CHECK(!parse_connection(good.substr(0, size), other));
    }
}
