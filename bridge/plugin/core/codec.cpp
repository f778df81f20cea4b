#include "codec.hpp"

#include "msgpack.hpp"

namespace dawbridge {

namespace {

using msgpack::Reader;
using msgpack::Writer;

constexpr int64_t most = int64_t{1} << 53;
constexpr size_t max_notes = 1024, max_points = 4096;

Writer message(const char* type, size_t fields) {
    Writer writer;
    writer.map(fields + 1);
    writer.text("type");
    writer.text(type);
    return writer;
}

void field(Writer& writer, const char* name, int64_t value) {
    writer.text(name);
    writer.integer(value);
}

void field(Writer& writer, const char* name, const std::string& value) {
    writer.text(name);
    writer.text(value);
}

void flag(Writer& writer, const char* name, bool value) {
    writer.text(name);
    writer.boolean(value);
}

void names(Writer& writer, const char* name, const std::vector<std::string>& values) {
    writer.text(name);
    writer.array(values.size());
    for (const auto& value : values) writer.text(value);
}

void real_or_nil(Writer& writer, const std::optional<double>& value) {
    if (value) writer.real(*value);
    else writer.nil();
}

void transport_row(Writer& writer, const Transport& transport) {
    writer.array(8);
    writer.boolean(transport.playing);
    writer.boolean(transport.recording);
    writer.boolean(transport.looping);
    real_or_nil(writer, transport.tempo_bpm);
    real_or_nil(writer, transport.beats);
    real_or_nil(writer, transport.bar);
    if (transport.meter) {
        writer.array(2);
        writer.integer(transport.meter->beats);
        writer.integer(transport.meter->unit);
    } else {
        writer.nil();
    }
    if (transport.position) writer.integer(*transport.position);
    else writer.nil();
}

}  // namespace

Bytes encode(const Hello& hello, int oldest, int newest) {
    const bool texts[] = {!hello.instance.empty(), !hello.name.empty(), !hello.track.empty(), !hello.software.empty()};
    size_t fields = 4 + !hello.presets.empty() + hello.offline + !hello.monitor + !hello.contents.empty();
    for (bool text : texts) fields += text;
    Writer writer = message("hello", fields);
    writer.text("protocol");
    writer.array(2);
    writer.integer(oldest);
    writer.integer(newest);
    field(writer, "rate", hello.rate);
    field(writer, "channels", hello.channels);
    field(writer, "max_block", hello.max_block);
    if (texts[0]) field(writer, "instance", hello.instance);
    if (texts[1]) field(writer, "name", hello.name);
    if (texts[2]) field(writer, "track", hello.track);
    if (texts[3]) field(writer, "software", hello.software);
    if (!hello.presets.empty()) names(writer, "presets", hello.presets);
    if (hello.offline) flag(writer, "offline", true);
    if (!hello.monitor) flag(writer, "monitor", false);
    if (!hello.contents.empty()) field(writer, "contents", hello.contents);
    return std::move(writer.bytes);
}

Bytes encode(const Configure& change) {
    const size_t fields = change.presets.has_value() + change.offline.has_value() + change.monitor.has_value() +
                          change.name.has_value() + change.track.has_value();
    Writer writer = message("configure", fields);
    if (change.presets) names(writer, "presets", *change.presets);
    if (change.offline) flag(writer, "offline", *change.offline);
    if (change.monitor) flag(writer, "monitor", *change.monitor);
    if (change.name) field(writer, "name", *change.name);
    if (change.track) field(writer, "track", *change.track);
    return std::move(writer.bytes);
}

Bytes encode_audio(int64_t seq, int64_t start, int64_t samples, const Transport& transport) {
    Writer writer = message("audio", 4);
    field(writer, "seq", seq);
    field(writer, "start", start);
    field(writer, "samples", samples);
    writer.text("transport");
    transport_row(writer, transport);
    return std::move(writer.bytes);
}

Bytes encode_flush(int64_t seq, const std::string& reason) {
    Writer writer = message("flush", reason == "stop" ? 1 : 2);
    field(writer, "seq", seq);
    if (reason != "stop") field(writer, "reason", reason);
    return std::move(writer.bytes);
}

Bytes encode_ping(int64_t sent_ns) {
    Writer writer = message("ping", 1);
    field(writer, "sent_ns", sent_ns);
    return std::move(writer.bytes);
}

Bytes encode_status() { return std::move(message("status", 0).bytes); }

Bytes encode_bundle(const std::vector<Item>& items) {
    Writer writer = message("bundle", 1);
    writer.text("items");
    writer.array(items.size());
    for (const Item& item : items) {
        writer.array(3);
        writer.integer(item.line);
        writer.binary(item.header);
        writer.integer(static_cast<int64_t>(item.size));
    }
    return std::move(writer.bytes);
}

Bytes encode_goodbye() { return std::move(message("goodbye", 0).bytes); }

namespace {

int64_t whole(Reader& reader) { return reader.integer(0, most); }

std::string text(Reader& reader, size_t limit) {
    const std::string_view value = reader.text();
    if (value.size() > 4 * limit) reader.fail();  // the limit counts characters, each at most four bytes
    return std::string(value);
}

void read_latency(Reader& reader, Latency& latency) {
    for (size_t left = reader.map(); left > 0 && !reader.bad(); --left) {
        const std::string_view key = reader.text();
        if (key == "block") latency.block = whole(reader);
        else if (key == "resampler") latency.resampler = whole(reader);
        else if (key == "network") latency.network = whole(reader);
        else if (key == "chunk") latency.chunk = whole(reader);
        else if (key == "budget") latency.budget = whole(reader);
        else reader.skip();
    }
}

void read_instrument(Reader& reader, Instrument& instrument) {
    for (size_t left = reader.map(); left > 0 && !reader.bad(); --left) {
        const std::string_view key = reader.text();
        if (key == "channel") {
            instrument.channel = static_cast<int>(reader.integer(1, 16));
        } else if (key == "key_range") {
            if (reader.array() != 2) reader.fail();
            instrument.lowest = static_cast<int>(reader.integer(0, 127));
            instrument.highest = static_cast<int>(reader.integer(0, 127));
        } else if (key == "velocities") {
            const size_t size = reader.array();
            if (size != 0 && size != 128) reader.fail();
            for (size_t i = 0; i < size && !reader.bad(); ++i)
                instrument.velocities.push_back(static_cast<uint8_t>(reader.integer(0, 127)));
        } else if (key == "lanes") {
            for (size_t lanes = reader.map(); lanes > 0 && !reader.bad(); --lanes) {
                const std::string lane = text(reader, 32);
                instrument.lanes[lane] = static_cast<int>(reader.integer(0, 127));
            }
        } else {
            reader.skip();
        }
    }
}

void read_welcome(Reader& reader, size_t fields, Welcome& welcome) {
    welcome = {};
    bool complete[5] = {};
    for (; fields > 0 && !reader.bad(); --fields) {
        const std::string_view key = reader.text();
        if (key == "protocol") complete[0] = true, welcome.protocol = static_cast<int>(reader.integer(0, 65535));
        else if (key == "epoch") complete[1] = true, welcome.epoch = whole(reader);
        else if (key == "session") complete[2] = true, welcome.session = whole(reader);
        else if (key == "latency") complete[3] = true, read_latency(reader, welcome.latency);
        else if (key == "credit") complete[4] = true, welcome.credit = reader.integer(1, 65536);
        else if (key == "heartbeat_ms") welcome.heartbeat_ms = reader.integer(10, 60000);
        else if (key == "lines") welcome.lines = static_cast<int>(reader.integer(1, max_lines));
        else if (key == "alignment") welcome.alignment = text(reader, 32);
        else if (key == "weights") welcome.weights = text(reader, 256);
        else if (key == "contents") welcome.contents = text(reader, 8192);
        else if (key == "software") welcome.software = text(reader, 256);
        else if (key == "instrument") read_instrument(reader, welcome.instrument);
        else reader.skip();
    }
    for (bool there : complete)
        if (!there) reader.fail();
}

void read_refusal(Reader& reader, size_t fields, Refusal& refusal) {
    refusal = {};
    bool code = false, prose = false;
    for (; fields > 0 && !reader.bad(); --fields) {
        const std::string_view key = reader.text();
        if (key == "code") code = true, refusal.code = text(reader, 32);
        else if (key == "message") prose = true, refusal.message = text(reader, 2048);
        else if (key == "remedy") refusal.remedy = text(reader, 2048);
        else if (key == "about") refusal.about = text(reader, 32);
        else reader.skip();
    }
    if (!code || !prose) reader.fail();
}

void read_goodbye(Reader& reader, size_t fields, Goodbye& goodbye) {
    goodbye = {};
    for (; fields > 0 && !reader.bad(); --fields) {
        const std::string_view key = reader.text();
        if (key == "code") goodbye.code = text(reader, 32);
        else if (key == "reason") goodbye.reason = text(reader, 2048);
        else if (key == "remedy") goodbye.remedy = text(reader, 2048);
        else reader.skip();
    }
}

void read_pong(Reader& reader, size_t fields, Pong& pong) {
    pong = {};
    bool sent = false;
    for (; fields > 0 && !reader.bad(); --fields) {
        const std::string_view key = reader.text();
        if (key == "sent_ns") sent = true, pong.sent_ns = whole(reader);
        else if (key == "queue") pong.queue = whole(reader);
        else if (key == "late") pong.late = whole(reader);
        else if (key == "dropped") pong.dropped = whole(reader);
        else if (key == "load") pong.load = reader.real(0, 1);
        else reader.skip();
    }
    if (!sent) reader.fail();
}

void skip_rest(Reader& reader, size_t size, size_t known) {
    for (; size > known && !reader.bad(); --size) reader.skip();
}

void read_note(Reader& reader, Note& note) {
    const size_t size = reader.array();
    const std::string_view tag = reader.text();
    if (size < 5 || (tag != "on" && tag != "off")) return reader.fail();
    note.on = tag == "on";
    note.time = whole(reader);
    note.pitch = static_cast<int>(reader.integer(0, 127));
    note.velocity = reader.real(0, 1);
    note.voice = whole(reader);
    note.channel = size > 5 ? static_cast<int>(reader.integer(0, 15)) : 0;
    if (note.on && size > 6) reader.real(0, 1);
    skip_rest(reader, size, note.on ? 7 : 6);
}

void read_control(Reader& reader, Control& control) {
    const size_t size = reader.array();
    if (size < 3) return reader.fail();
    control.time = whole(reader);
    control.controller = static_cast<int>(reader.integer(0, 127));
    control.value = reader.real(0, 1);
    control.channel = size > 3 ? static_cast<int>(reader.integer(0, 15)) : 0;
    skip_rest(reader, size, 4);
}

void read_lane(Reader& reader, LanePoint& point) {
    const size_t size = reader.array();
    if (size < 3) return reader.fail();
    point.time = whole(reader);
    const std::string_view lane = reader.text();
    point.lane = lane == "dynamics"   ? Lane::dynamics
                 : lane == "velocity" ? Lane::velocity
                 : lane == "tempo"    ? Lane::tempo
                                      : Lane::other;
    point.value = reader.real();
    skip_rest(reader, size, 3);
}

template <typename Row, typename Read>
void read_rows(Reader& reader, std::vector<Row>& rows, size_t limit, Read read) {
    const size_t size = reader.array();
    if (size > limit) return reader.fail();
    rows.resize(size);
    for (Row& row : rows) read(reader, row);
}

void read_events(Reader& reader, size_t fields, Events& events) {
    events.notes.clear();
    events.controls.clear();
    events.lanes.clear();
    events.due = 0;
    bool through = false, until = false;
    for (; fields > 0 && !reader.bad(); --fields) {
        const std::string_view key = reader.text();
        if (key == "through_seq") through = true, events.through_seq = whole(reader);
        else if (key == "final_until") until = true, events.final_until = whole(reader);
        else if (key == "due") events.due = whole(reader);
        else if (key == "notes") read_rows(reader, events.notes, max_notes, read_note);
        else if (key == "controls") read_rows(reader, events.controls, max_points, read_control);
        else if (key == "lanes") read_rows(reader, events.lanes, max_points, read_lane);
        else reader.skip();
    }
    if (!through || !until) reader.fail();
}

void read_letter(Reader& reader, Letter& letter) {
    const size_t size = reader.array();
    if (size < 2) return reader.fail();
    letter.line = static_cast<int>(reader.integer(0, max_lines - 1));
    const std::string_view header = reader.binary();
    letter.header = header.data();
    letter.size = header.size();
    skip_rest(reader, size, 2);
}

void read_bundle(Reader& reader, size_t fields, std::vector<Letter>& bundle) {
    bundle.clear();
    for (; fields > 0 && !reader.bad(); --fields) {
        if (reader.text() == "items") read_rows(reader, bundle, size_t{max_lines}, read_letter);
        else reader.skip();
    }
}

// `type` may stand anywhere in the map, so it is looked for first.
std::string_view type_of(Reader reader, size_t fields) {
    for (; fields > 0 && !reader.bad(); --fields) {
        if (reader.text() == "type") return reader.text();
        reader.skip();
    }
    return {};
}

}  // namespace

Kind decode(const void* bytes, size_t size, Message& message) {
    Reader reader(bytes, size);
    const size_t fields = reader.map();
    const std::string_view type = type_of(reader, fields);
    message.kind = Kind::unknown;
    if (type.empty()) return message.kind = Kind::malformed;
    if (type == "events") message.kind = Kind::events, read_events(reader, fields, message.events);
    else if (type == "welcome") message.kind = Kind::welcome, read_welcome(reader, fields, message.welcome);
    else if (type == "refusal") message.kind = Kind::refusal, read_refusal(reader, fields, message.refusal);
    else if (type == "pong") message.kind = Kind::pong, read_pong(reader, fields, message.pong);
    else if (type == "goodbye") message.kind = Kind::goodbye, read_goodbye(reader, fields, message.goodbye);
    else if (type == "bundle") message.kind = Kind::bundle, read_bundle(reader, fields, message.bundle);
    else for (size_t i = 0; i < 2 * fields; ++i) reader.skip();
    if (reader.bad() || !reader.done()) message.kind = Kind::malformed;
    return message.kind;
}

}  // namespace dawbridge
