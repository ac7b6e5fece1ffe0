package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
)

// nobodyOpened holds a failed round to its promise: nothing came out of it.
func (s *site) nobodyOpened(what string) {
	s.t.Helper()
	for party, d := range s.domains {
		d.mu.Lock()
		if d.done != 0 || len(d.released) != 0 {
			s.t.Errorf("%s: %s opened something", what, party)
		}
		d.mu.Unlock()
	}
}

// R39, a fault: the clock of one node is too fast or too slow. It is named before anything
// is encrypted. The control is the same site with the clock set.
func TestR39_ClockSkewIsNamed(t *testing.T) {
	for _, ahead := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		s := newSite(t)
		s.ahead = map[string]time.Duration{"city_c": ahead}
		s.start()
		p := proposal(federate.Mask, fmt.Sprint("skew", ahead))
		p.Deadline += 1200
		st := s.round(p)
		if st.Phase != federate.Failed || st.Fault.Party != "city_c" {
			t.Errorf("%s: %+v", ahead, st.Fault)
		}
		s.nobodyOpened(ahead.String())
		s.stop()
		s.ahead = nil
		s.start()
		if st := s.round(proposal(federate.Mask, fmt.Sprint("set", ahead))); st.Phase != federate.Done {
			t.Errorf("control: %v", st.Fault)
		}
		s.stop()
	}
}

// spoiled alters the parts that a node sends on the way, and leaves everything else.
type spoiled struct {
	Carrier
	alter func(i int, part []byte) []byte
}

func (s spoiled) SendParts(ctx context.Context, to Stream, next func() ([]byte, error)) error {
	i := -1
	return s.Carrier.SendParts(ctx, to, func() ([]byte, error) {
		part, err := next()
		if err != nil || to.Share {
			return part, err
		}
		i++
		return s.alter(i, slices.Clone(part)), nil
	})
}

// R39, a fault: ciphertexts that are cut short, too long, changed, of another's or left
// out. The round ends, who sent them is named, nothing is released, and the next round runs. The control is the same carrier that alters nothing.
func TestR39_MalformedCiphertextIsNamed(t *testing.T) {
	for _, scheme := range schemes {
		alter := func(_ int, part []byte) []byte { return part }
		s := newSite(t)
		s.carry = func(party string) Carrier {
			if party == "city_d" {
				return spoiled{s.hub.As(party), func(i int, part []byte) []byte { return alter(i, part) }}
			}
			return s.hub.As(party)
		}
		s.start()
		for what, f := range map[string]func(int, []byte) []byte{
			"short":   func(_ int, part []byte) []byte { return part[:len(part)-1] },
			"long":    func(_ int, part []byte) []byte { return append(part, 0) },
			"empty":   func(int, []byte) []byte { return []byte{} },
			"changed": func(_ int, part []byte) []byte { part[len(part)/2] ^= 1; return part },
			"beyond every modulus": func(_ int, part []byte) []byte {
				for i := range part {
					part[i] = 0xff
				}
				return part
			},
		} {
			alter = f
			p := proposal(scheme.Name(), scheme.Name()+what)
			if st := s.round(p); st.Phase != federate.Failed || !strings.Contains(st.Fault.Error(), "city_d") {
				t.Errorf("%s, %s: %+v", scheme.Name(), what, st.Fault)
			}
			s.nobodyOpened(what)
		}
		alter = func(_ int, part []byte) []byte { return part }
		p := proposal(scheme.Name(), scheme.Name()+"control")
		if st := s.round(p); st.Phase != federate.Done {
			t.Errorf("control: %v", st.Fault)
		} else {
			s.near(p)
		}
		s.stop()
	}
}

// R39, a fault: a node whose ciphertexts come after the deadline. The round has ended in
// its name, nothing that it sends then counts, and the next round runs.
func TestR39_LateNodeIsNamed(t *testing.T) {
	s, d := held(t)
	s.start()
	session, err := s.hub.Propose(proposal(federate.Mask, "late"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.collecting(session)
	late := time.Now().Add(2 * time.Minute)
	s.hub.mu.Lock()
	s.hub.c.Now = func() time.Time { return late }
	s.hub.mu.Unlock()
	s.hub.tick()
	st := s.settled(session)
	if st.Phase != federate.Failed || st.Fault.Party != "city_d" || st.Fault.Reason.Code != "FEDERATION_LATE" {
		t.Errorf("%+v", st.Fault)
	}
	s.hub.mu.Lock()
	s.hub.c.Now = time.Now
	s.hub.mu.Unlock()
	close(d.gate)
	p := proposal(federate.Mask, "in time")
	if st := s.round(p); st.Phase != federate.Done {
		t.Fatal(st.Fault)
	}
	s.near(p)
	if st, err := s.hub.State(session); err != nil || st.Phase != federate.Failed {
		t.Errorf("the late round: %+v %v", st, err)
	}
}
