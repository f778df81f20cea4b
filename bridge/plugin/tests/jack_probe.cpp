// A JACK client for tests: `jack_probe clicks SECONDS STOP` plays a click at every frame that 12000 divides,
// with the transport rolling for STOP seconds (0 = never); `jack_probe midi SECONDS` prints what comes in,
// as `frame status a b`.
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <jack/jack.h>
#include <jack/midiport.h>

namespace {

jack_client_t* client;
jack_port_t* port;
bool midi;

struct Line {
    jack_nframes_t frame;
    unsigned char bytes[3];
};
Line lines[65536];
std::atomic<size_t> count{0};

void play(jack_nframes_t samples) {
    auto* out = static_cast<float*>(jack_port_get_buffer(port, samples));
    const jack_nframes_t start = jack_last_frame_time(client);
    for (jack_nframes_t i = 0; i < samples; ++i) {
        const double phase = std::remainder(static_cast<double>(start + i), 12000.0);
        out[i] = std::abs(phase) > 72 ? 0.0f : static_cast<float>(std::exp(-0.5 * phase * phase / 144));
    }
}

void record(jack_nframes_t samples) {
    void* in = jack_port_get_buffer(port, samples);
    const jack_nframes_t start = jack_last_frame_time(client);
    jack_midi_event_t event;
    for (uint32_t i = 0; jack_midi_event_get(&event, in, i) == 0 && count < 65536; ++i) {
        if (event.size != 3) continue;
        Line& line = lines[count];
        line.frame = start + event.time;
        std::memcpy(line.bytes, event.buffer, 3);
        ++count;
    }
}

int process(jack_nframes_t samples, void*) {
    if (midi) record(samples);
    else play(samples);
    return 0;
}

void wait(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

}  // namespace

int main(int words, char** word) {
    if (words < 3) return 2;
    midi = std::strcmp(word[1], "midi") == 0;
    client = jack_client_open(midi ? "capture" : "clicks", JackNoStartServer, nullptr);
    if (!client) return 1;
    port = midi ? jack_port_register(client, "in", JACK_DEFAULT_MIDI_TYPE, JackPortIsInput, 0)
                : jack_port_register(client, "out", JACK_DEFAULT_AUDIO_TYPE, JackPortIsOutput, 0);
    jack_set_process_callback(client, process, nullptr);
    jack_activate(client);
    std::printf("ready\n");
    std::fflush(stdout);
    const double seconds = std::atof(word[2]), stop = words > 3 ? std::atof(word[3]) : 0;
    if (stop > 0) jack_transport_start(client);
    wait(stop > 0 ? stop : seconds);
    if (stop > 0) {
        jack_transport_stop(client);
        std::printf("stopped %u\n", jack_frame_time(client));
        wait(seconds - stop);
    }
    jack_deactivate(client);
    for (size_t i = 0; i < count; ++i)
        std::printf("%u %d %d %d\n", lines[i].frame, lines[i].bytes[0], lines[i].bytes[1], lines[i].bytes[2]);
    jack_client_close(client);
    return 0;
}
