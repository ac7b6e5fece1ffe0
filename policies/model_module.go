package policies

import (
	"encoding/hex"
	"math"
)

// ModelModule pins the file of an operator's WebAssembly module: what was reviewed is
// what runs.
type ModelModule struct {
	SHA256 string `yaml:"sha256" json:"sha256"` // 64 small hexadecimal digits
	Size   int64  `yaml:"size" json:"size"`     // bytes, 1…MostModuleBytes
}

// ScoreBounds 得分范围 are where a module's scores lie, declared and not taken from
// data: a score beyond them counts as the nearer end. Bins equal parts of them are what
// is counted.
type ScoreBounds struct {
	Low  float64 `yaml:"low" json:"low"`
	High float64 `yaml:"high" json:"high"`
	Bins int     `yaml:"bins" json:"bins"` // 2…64
}

// Limits of modules.
const (
	MostModuleBytes = 8 << 20
	mostScore       = 1e9
	mostScoreBins   = 64
)

// Inside says that what is kept of a model is of the rows themselves, and ends with
// them: not of one that was trained privately, nor of a module, which never saw them.
func (m ModelSpec) Inside() bool { return !m.Private && m.Family != FamilyModule }

// checkModule checks what a module has and no other family.
func (m ModelSpec) checkModule() error {
	if m.Family != FamilyModule {
		switch {
		case m.Module != nil || m.Bounds != nil:
			return texts.Errorf("module and bounds are for family module")
		case m.Release == ReleaseAggregates:
			return texts.Errorf("release: aggregates is for family module")
		}
		return nil
	}
	switch {
	case m.Private || m.Rho != "":
		return texts.Errorf("a module is not trained here: leave private and rho out")
	case m.Release == ReleaseScores:
		return texts.Errorf("a module's scores of rows you bring yourself tell nothing of the data: run it with sandgate wasm run, and give release: aggregates")
	case m.Release != ReleaseAggregates:
		return texts.Errorf("a module is not handed out: give release: aggregates")
	case m.HoldOut != 0 || m.Setting != (ModelSettings{}):
		return texts.Errorf("a module is not trained here: leave hold_out and settings out")
	case m.Module == nil || m.Bounds == nil:
		return texts.Errorf("module (sha256, size) and bounds (low, high, bins) are missing; sandgate model draft --module FILE fills the module in")
	case m.Module.Size < 1 || m.Module.Size > MostModuleBytes:
		return texts.Errorf("module.size must lie in 1…%d bytes", MostModuleBytes)
	}
	if d, err := hex.DecodeString(m.Module.SHA256); err != nil || len(d) != 32 || hex.EncodeToString(d) != m.Module.SHA256 {
		return texts.Errorf("module.sha256 must be the SHA-256 of the WebAssembly file, 64 small hexadecimal digits")
	}
	b := m.Bounds
	// Not a number fails every comparison.
	if !(math.Abs(b.Low) <= mostScore && math.Abs(b.High) <= mostScore && b.High-b.Low >= 1e-9) || b.Bins < 2 || b.Bins > mostScoreBins {
		return texts.Errorf("bounds need low below high, both within ±%g, and 2…%d bins", float64(mostScore), mostScoreBins)
	}
	for _, f := range m.Features {
		if f.Bins != 0 {
			return texts.Errorf("feature %q: a module reads values, not bins; leave bins out", safeName(f.Column))
		}
	}
	return nil
}
