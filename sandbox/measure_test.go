package sandbox

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// engineHandler is the engine's name in the gateway's own executable.
const engineHandler = "execute"

func init() {
	Register(engineHandler, func(context.Context, []byte, []*os.File, func([]byte) error) error { return nil })
}

// TestMeasure prints what the jail costs, with and without it in one interleaved
// run: SANDGATE_MEASURE=1, and SANDGATE_BIN for the engine's own worker.
func TestMeasure(t *testing.T) {
	if os.Getenv("SANDGATE_MEASURE") == "" {
		t.Skip("set SANDGATE_MEASURE=1 to measure")
	}
	measure(t, "", "echo")
	if bin := os.Getenv("SANDGATE_BIN"); bin != "" {
		measure(t, bin, engineHandler)
	}
}

func measure(t *testing.T, bin, handler string) {
	tiers := []Tier{tierNone, TierContainer, TierFull}
	cold, first, private := map[Tier][]time.Duration{}, map[Tier][]time.Duration{}, map[Tier][]int64{}
	pools := map[Tier]*Pool{}
	for _, tier := range tiers {
		p, err := newPool(Config{Tier: tier, Executable: bin})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		pools[tier] = p
	}
	for range 30 {
		for _, tier := range tiers {
			p := pools[tier]
			begin := time.Now()
			proc, err := p.launch(context.Background(), handler, p.limits.Memory, false, false)
			if err != nil {
				t.Fatal(err)
			}
			cold[tier] = append(cold[tier], time.Since(begin))
			private[tier] = append(private[tier], privateMemory(proc.pid))
			if handler == "echo" {
				begin = time.Now()
				err = p.converse(context.Background(), proc, []byte("x"), nil, p.limits, func([]byte) error {
					first[tier] = append(first[tier], time.Since(begin))
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			p.retire(proc)
		}
	}
	for _, tier := range tiers {
		slices.Sort(cold[tier])
		slices.Sort(private[tier])
		slices.Sort(first[tier])
		line := []string{handler, string(tier), "READY min/p50", cold[tier][0].String(), cold[tier][15].String(), "private KiB p50", strconv.FormatInt(private[tier][15], 10)}
		if len(first[tier]) > 0 {
			line = append(line, "job to first byte min/p50", first[tier][0].String(), first[tier][15].String())
		}
		t.Log(strings.Join(line, " "))
	}
}

// privateMemory is in KiB; an undumpable worker shows it to its parent alone.
func privateMemory(pid int) int64 {
	raw, err := os.ReadFile(procOf(pid, "smaps_rollup"))
	if err != nil {
		return -1
	}
	total := int64(0)
	for line := range bytes.Lines(raw) {
		fields := strings.Fields(string(line))
		// Clean pages belong to the executable and are shared with other workers.
		if len(fields) == 3 && fields[0] == "Private_Dirty:" {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			total += n
		}
	}
	return total
}
