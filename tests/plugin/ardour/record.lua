-- Plays a session once and records its MIDI track; prints the latency of the audio track.
-- Arguments: folder of the session, its name, sample rate, seconds to play.
local rate, seconds = tonumber(arg[3]), tonumber(arg[4])
local backend = AudioEngine:set_backend("None (Dummy)", "", "")
backend:set_device_name("Silence")
backend:set_sample_rate(rate)
backend:set_buffer_size(256)
local session = assert(load_session(arg[1], arg[2]), "no session")
local notes = session:route_by_name("Notes"):to_track()
notes:rec_enable_control():set_value(1, PBD.GroupControlDisposition.NoGroup)
session:goto_start(false)
sleep(1)
session:maybe_enable_record(true)
session:request_roll(ARDOUR.TransportRequestSource.TRS_UI)
local patience = os.time() + 3 * seconds + 20
while session:transport_sample() < seconds * rate and os.time() < patience do sleep(0.1) end
print("latency", session:route_by_name("Piano"):signal_latency())
session:request_stop(false, false, ARDOUR.TransportRequestSource.TRS_UI)
sleep(2)
session:save_state("")
close_session()
