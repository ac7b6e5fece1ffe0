package federate_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/release"
)

// Figures of one party on one core, by cell, for a million cells. Besides ns/cell they say
// how many times dearer than adding in the clear a step is (x-clear), and how many bytes
// AES-256-CTR makes in the time of a cell (aes-B/cell): the machine's speed cancels out.

const million = 1_000_000

// yardstick measures the clear sum and AES-CTR in this run.
var yardstick = sync.OnceValues(func() (clearNS, aesNS float64) {
	a, b := make([]int64, million), make([]int64, million)
	best := func(f func()) float64 {
		least := time.Duration(1 << 62)
		for range 5 {
			t := time.Now()
			f()
			least = min(least, time.Since(t))
		}
		return float64(least.Nanoseconds())
	}
	clearNS = best(func() {
		for i := range a {
			a[i] += b[i]
		}
	}) / million
	block, _ := aes.NewCipher(make([]byte, 32))
	buf := make([]byte, 1<<20)
	aesNS = best(func() { cipher.NewCTR(block, make([]byte, 16)).XORKeyStream(buf, buf) }) / (1 << 20)
	return clearNS, aesNS
})

func perCell(b *testing.B, cells int, bytes float64) {
	clearNS, aesNS := yardstick()
	ns := float64(b.Elapsed().Nanoseconds()) / float64(b.N) / float64(cells)
	b.ReportMetric(ns, "ns/cell")
	b.ReportMetric(ns/clearNS, "x-clear")
	b.ReportMetric(ns/aesNS, "aes-B/cell")
	if bytes > 0 {
		b.ReportMetric(bytes/float64(cells), "B/cell")
	}
	b.ReportMetric(0, "ns/op")
}

// bench is a key among three holders with their secrets, and eight contributors.
type bench struct {
	p       *federate.Proposal
	scheme  federate.Scheme
	shape   federate.Shape
	holders map[string]federate.Holder
	key     federate.Key
	values  []int64
}

var eight = []string{"city_a", "city_b", "city_c", "city_d", "city_e", "city_f", "city_g", "city_h"}

// millionCells is a proposal of counts among eight contributors, two of them holders.
func millionCells(s federate.Scheme) *federate.Proposal {
	p := proposal(s.Name(), eight, eight[:2], 2, million)
	p.Columns[1].Low, p.Columns[1].High = p.Columns[0].Low, p.Columns[0].High
	p.Columns[1].Sigma2, p.Columns[1].Sensitivity2 = p.Columns[0].Sigma2, p.Columns[0].Sensitivity2
	return p
}

func newBench(b *testing.B, s federate.Scheme) *bench {
	p := millionCells(s)
	x := &bench{p: p, scheme: s, holders: map[string]federate.Holder{}, values: make([]int64, million)}
	var f *federate.Fault
	if x.shape, f = s.Fit(p); f != nil {
		b.Fatal(f)
	}
	ctx := federate.Context{Proposal: p}
	var shares [][]byte
	for _, name := range p.Holders() {
		ctx.Self = name
		h, err := s.Holder(ctx, release.NewSource())
		if err != nil {
			b.Fatal(err)
		}
		x.holders[name], shares = h, append(shares, h.KeyShare())
	}
	for i, from := range p.Departments {
		to := p.Departments[1-i]
		if deal, err := x.holders[from].Deal(to); err != nil {
			b.Fatal(err)
		} else if deal != nil {
			if err := x.holders[to].Take(from, deal); err != nil {
				b.Fatal(err)
			}
		}
	}
	var err error
	if x.key, err = s.Key(ctx, shares); err != nil {
		b.Fatal(err)
	}
	for i := range x.values {
		x.values[i] = int64(i % (1 << 20))
	}
	return x
}

func (x *bench) writer(b *testing.B) federate.Writer {
	w, err := x.key.Writer(release.NewSource())
	if err != nil {
		b.Fatal(err)
	}
	return w
}

// noise is that of a count; of greater variances it costs some times more.
func (x *bench) noise(b *testing.B) federate.Noise {
	n, err := release.NewNoiseShare(x.p.ShareVariance(0), release.NewSource())
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// summed is a sum of one contribution, which costs the same to open as one of eight, and
// its seeds as if they were those of so many contributors.
func (x *bench) summed(b *testing.B, contributors int) (federate.Sum, map[string]map[string][]byte) {
	sum, w, h := x.key.Sum(true), x.writer(b), sha256.New()
	seeds := map[string]map[string][]byte{}
	for _, holder := range x.p.Holders() {
		seeds[holder] = map[string][]byte{}
		for _, c := range x.p.Contributors[:contributors] {
			seeds[holder][c] = w.Secret(holder)
		}
	}
	var part []byte
	i := 0
	for v := range slices.Chunk(x.values, x.shape.ChunkCells) {
		var err error
		if part, err = w.Part(part[:0], i, v); err != nil {
			b.Fatal(err)
		}
		if err := sum.Add(i, part); err != nil {
			b.Fatal(err)
		}
		sum.Close(i, h)
		i++
	}
	return sum, seeds
}

func schemesOf(b *testing.B, run func(b *testing.B, x *bench)) {
	for _, s := range schemes {
		b.Run(s.Name(), func(b *testing.B) { run(b, newBench(b, s)) })
	}
}

// BenchmarkEncrypt is one contribution of a million cells.
func BenchmarkEncrypt(b *testing.B) {
	schemesOf(b, func(b *testing.B, x *bench) {
		bytes := 0
		var part []byte
		for b.Loop() {
			bytes = 0
			w := x.writer(b)
			i := 0
			for v := range slices.Chunk(x.values, x.shape.ChunkCells) {
				var err error
				if part, err = w.Part(part[:0], i, v); err != nil {
					b.Fatal(err)
				}
				bytes += len(part)
				i++
			}
		}
		perCell(b, million, float64(bytes))
	})
}

// BenchmarkAdd is a holder's check and addition of one contribution, its digests included.
func BenchmarkAdd(b *testing.B) {
	schemesOf(b, func(b *testing.B, x *bench) {
		part, err := x.writer(b).Part(nil, 0, x.values[:x.shape.ChunkCells])
		if err != nil {
			b.Fatal(err)
		}
		sum := x.key.Sum(true)
		for b.Loop() {
			sha256.Sum256(part)
			if err := sum.Add(0, part); err != nil {
				b.Fatal(err)
			}
		}
		perCell(b, x.shape.ChunkCells, 0)
	})
}

// BenchmarkShare is one decryption share, with flood and noise.
func BenchmarkShare(b *testing.B) {
	schemesOf(b, func(b *testing.B, x *bench) {
		sum, seeds := x.summed(b, len(eight))
		bytes := 0
		var part []byte
		for b.Loop() {
			b.StopTimer()
			h, err := x.scheme.Holder(federate.Context{Proposal: x.p, Self: x.p.Regulator}, release.NewSource())
			if err != nil {
				b.Fatal(err)
			}
			o, err := h.Open(sum, x.p.Holders(), seeds[x.p.Regulator], x.noise(b), release.NewSource())
			if err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			bytes = 0
			for i := range x.shape.Chunks {
				if part, err = o.Share(part[:0], i); err != nil {
					b.Fatal(err)
				}
				bytes += len(part)
			}
		}
		perCell(b, million, float64(bytes))
	})
}

// BenchmarkFinish puts three shares together and decodes.
func BenchmarkFinish(b *testing.B) {
	schemesOf(b, func(b *testing.B, x *bench) {
		sum, seeds := x.summed(b, 1)
		var shares [][][]byte
		for _, name := range x.p.Holders() {
			o, err := x.holders[name].Open(sum, x.p.Holders(), seeds[name], x.noise(b), release.NewSource())
			if err != nil {
				b.Fatal(err)
			}
			var all [][]byte
			for i := range x.shape.Chunks {
				part, err := o.Share(nil, i)
				if err != nil {
					b.Fatal(err)
				}
				all = append(all, part)
			}
			shares = append(shares, all)
		}
		// The sum is opened once; what follows costs the same and gives nonsense, so that only
		// the first may fail.
		out := make([]int64, 0, million)
		first := true
		for b.Loop() {
			out = out[:0]
			for i := range x.shape.Chunks {
				for _, all := range shares {
					if err := sum.AddShare(i, all[i]); err != nil {
						b.Fatal(err)
					}
				}
				var err error
				if out, err = sum.Values(out, i); err != nil && first {
					b.Fatal(err)
				}
			}
			first = false
		}
		perCell(b, million, 0)
	})
}

// BenchmarkRound is all of a round in one process: eight contributors, three holders, a
// million cells, every party with its own state machine, and nothing shared but bytes.
func BenchmarkRound(b *testing.B) {
	for _, s := range schemes {
		b.Run(s.Name(), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				w := worldOf(b, millionCells(s))
				b.StartTimer()
				if f := w.keys(); f != nil {
					b.Fatal(f)
				}
				texts := make([][]byte, len(eight))
				parts := make([][][]byte, len(eight))
				concurrently(b, len(eight), func(i int) *federate.Fault {
					r := w.rounds[eight[i]]
					c, f := r.Contribute(func([]byte) error { return nil }, w.now)
					for v := range slices.Chunk(w.values[eight[i]], r.Shape().ChunkCells) {
						var part []byte
						if f == nil {
							part, f = c.Part(nil, v)
						}
						parts[i] = append(parts[i], part)
					}
					if f == nil {
						texts[i], f = c.Finish(w.now)
					}
					return f
				})
				for i, text := range texts {
					w.parts[eight[i]] = parts[i]
					if f := w.rounds["gateway"].Receive(sign(eight[i], text), w.now); f != nil {
						b.Fatal(f)
					}
				}
				if f := w.all([]string{"gateway"}, func(_ string, r *federate.Round) ([]byte, *federate.Fault) { return r.Manifest(w.decryptors, w.now) }); f != nil {
					b.Fatal(f)
				}
				concurrently(b, len(w.decryptors), func(i int) *federate.Fault { return w.sum(w.decryptors[i]) })
				for _, d := range w.decryptors {
					if f := w.answer(d); f != nil {
						b.Fatal(f)
					}
				}
				got, f := w.finish()
				if f != nil {
					b.Fatal(f)
				}
				b.StopTimer()
				exact := w.exact()
				for i, x := range got {
					if d := x - exact[i]; d > w.bound(i) || d < -w.bound(i) {
						b.Fatalf("cell %d is wrong", i)
					}
				}
				b.StartTimer()
			}
			clearNS, _ := yardstick()
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/round")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/million/8/clearNS, "x-clear")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// concurrently runs n tasks on all cores; the first fault ends the benchmark.
func concurrently(b *testing.B, n int, task func(i int) *federate.Fault) {
	var wg sync.WaitGroup
	faults, gate := make([]*federate.Fault, n), make(chan struct{}, runtime.GOMAXPROCS(0))
	for i := range n {
		wg.Go(func() {
			gate <- struct{}{}
			faults[i] = task(i)
			<-gate
		})
	}
	wg.Wait()
	for _, f := range faults {
		if f != nil {
			b.Fatal(f)
		}
	}
}

// BenchmarkHolderMemory is what the regulator's node, which needs the most, holds of a round
// of a million cells while it adds up and makes its share.
func BenchmarkHolderMemory(b *testing.B) {
	schemesOf(b, func(b *testing.B, x *bench) {
		most := 0.0
		for b.Loop() {
			var before, now runtime.MemStats
			x.values = x.values[:x.shape.ChunkCells]
			runtime.GC()
			runtime.ReadMemStats(&before)
			sum, w, h := x.key.Sum(true), x.writer(b), sha256.New()
			var part []byte
			var err error
			for i := range x.shape.Chunks {
				if part, err = w.Part(part[:0], i, x.values[:min(x.shape.ChunkCells, million-i*x.shape.ChunkCells)]); err != nil {
					b.Fatal(err)
				}
				if err := sum.Add(i, part); err != nil {
					b.Fatal(err)
				}
				sum.Close(i, h)
			}
			seeds := map[string][]byte{}
			for _, c := range eight {
				seeds[c] = w.Secret(x.p.Regulator)
			}
			holder, err := x.scheme.Holder(federate.Context{Proposal: x.p, Self: x.p.Regulator}, release.NewSource())
			if err != nil {
				b.Fatal(err)
			}
			o, err := holder.Open(sum, x.p.Holders(), seeds, x.noise(b), release.NewSource())
			if err != nil {
				b.Fatal(err)
			}
			for i := range x.shape.Chunks {
				if part, err = o.Share(part[:0], i); err != nil {
					b.Fatal(err)
				}
				if err := sum.AddShare(i, part); err != nil {
					b.Fatal(err)
				}
			}
			runtime.ReadMemStats(&now)
			most = max(most, float64(now.HeapAlloc-before.HeapAlloc)/1e6)
			runtime.KeepAlive(o)
			runtime.KeepAlive(sum)
		}
		b.ReportMetric(most, "MB/node")
		b.ReportMetric(0, "ns/op")
	})
}
