package engine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"slices"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/sandbox"
)

// Operations of a model worker.
const (
	ModelPass = "pass" // exact sums of a pass
	ModelFit  = "fit"  // train inside
	ModelGate = "gate" // attack a model
	TwinPass  = "twin" // exact sums of a pass of a twin
)

// ModelRequest is one request to a model worker.
type ModelRequest struct {
	Op         string      `json:"op"`
	Pass       *model.Pass `json:"pass,omitempty"`
	Parameters []byte      `json:"parameters,omitempty"`
	Twin       *twin.Pass  `json:"twin,omitempty"`
}

// Tags of a model worker's frames.
const (
	tagModelLoaded     = 'L' // the rows are read; no body
	tagModelSums       = 'S' // int64 by int64, little endian
	tagModelParameters = 'M' // a parameter file, which stays inside the domain
	tagModelReport     = 'G' // the gate's report, JSON
	tagModelProgress   = 'P' // stage, done and total: how far the worker is
	tagModelRefused    = 'X' // one byte: the place of a code in modelCodes
)

// Caps of what a reply may hold.
const (
	MaxModelWidth      = 1 << 20 // coordinates of one pass
	MaxModelParameters = 8 << 20 // bytes
	MaxModelReport     = 256 << 10
	maxModelProgress   = 4096 // frames of progress in one job
)

// ModelCode is why a model worker gives up on what it read.
type ModelCode string

// Codes of a model worker: facts about the whole table, and no finer (docs/models.md).
const (
	// ModelUnfit says that the rows carry no such model: too few units, labels of one
	// class or none, features of one value, sums that determine nothing. Which of them
	// is not told: of a label that is narrow enough it would be whether somebody is there.
	ModelUnfit      ModelCode = "DATA_UNFIT"
	ModelParameters ModelCode = "PARAMETERS"      // the parameter file is not one of this design
	ModelTooLarge   ModelCode = "MODEL_TOO_LARGE" // more rows than a worker's memory holds
	ModelNotListed  ModelCode = "NOT_LISTED"      // a stored value is outside the code list in force
	ModelModule     ModelCode = "MODULE_UNFIT"    // the module does not run, or takes other columns: of the module alone
)

var modelCodes = []ModelCode{ModelUnfit, ModelParameters, ModelTooLarge, ModelNotListed, ModelModule}

// ModelStage is what a worker is at.
type ModelStage byte

// Stages of a model job.
const (
	StageLoad ModelStage = iota
	StageTrain
	StageGate
	stages
)

// ModelProgress is how far a stage is. It follows the schedule of the job, which is
// public, and not the rows.
type ModelProgress struct {
	Stage       ModelStage
	Done, Total uint16
}

// modelReply is a decoded frame.
type modelReply struct {
	tag      byte
	sums     []int64
	body     []byte
	progress ModelProgress
	code     ModelCode
}

var errModelFrame = errors.New("not a frame of a model worker")

// decodeModelReply reads one frame; every frame has one spelling.
func decodeModelReply(frame []byte) (modelReply, error) {
	if len(frame) == 0 {
		return modelReply{}, errModelFrame
	}
	r, body := modelReply{tag: frame[0]}, frame[1:]
	ok := false
	switch r.tag {
	case tagModelLoaded:
		ok = len(body) == 0
	case tagModelSums:
		if ok = len(body) > 0 && len(body)%8 == 0 && len(body)/8 <= MaxModelWidth; ok {
			r.sums = make([]int64, len(body)/8)
			for i := range r.sums {
				r.sums[i] = int64(binary.LittleEndian.Uint64(body[8*i:]))
				// A sum at the edge of its type has run over it.
				ok = ok && r.sums[i] > math.MinInt64/2 && r.sums[i] < math.MaxInt64/2
			}
		}
	case tagModelParameters:
		ok = len(body) > 0 && len(body) <= MaxModelParameters
		r.body = slices.Clone(body)
	case tagModelReport:
		ok = len(body) > 0 && len(body) <= MaxModelReport && json.Valid(body)
		r.body = slices.Clone(body)
	case tagModelProgress:
		if ok = len(body) == 5; ok {
			r.progress = ModelProgress{ModelStage(body[0]), binary.LittleEndian.Uint16(body[1:]), binary.LittleEndian.Uint16(body[3:])}
			ok = r.progress.Stage < stages && r.progress.Done <= r.progress.Total
		}
	case tagModelRefused:
		if ok = len(body) == 1 && int(body[0]) < len(modelCodes); ok {
			r.code = modelCodes[body[0]]
		}
	}
	if !ok {
		return modelReply{}, errModelFrame
	}
	return r, nil
}

// ModelAllowance is the most bytes that a model job may bring out: the sums of the
// passes that were planned, parameters if it fits inside, one report, and progress.
// The pool ends a worker that sends more, whatever its frames look like.
func ModelAllowance(widths []int, fits bool) int64 {
	total := int64(2 + 6*maxModelProgress + 1 + MaxModelReport)
	for _, w := range widths {
		total += 1 + 8*int64(w)
	}
	if fits {
		total += 1 + MaxModelParameters
	}
	return total
}

// ModelReplies writes a model worker's frames.
type ModelReplies struct {
	Emit func([]byte) error
	told int
}

// Loaded says that the rows are read.
func (w *ModelReplies) Loaded() error { return w.Emit([]byte{tagModelLoaded}) }

// Sums answers a pass.
func (w *ModelReplies) Sums(sums []int64) error {
	out := make([]byte, 1, 1+8*len(sums))
	out[0] = tagModelSums
	for _, v := range sums {
		out = binary.LittleEndian.AppendUint64(out, uint64(v))
	}
	return w.Emit(out)
}

// Parameters answers a fit.
func (w *ModelReplies) Parameters(file []byte) error {
	if len(file) > MaxModelParameters {
		return w.Refuse(ModelTooLarge)
	}
	return w.Emit(append([]byte{tagModelParameters}, file...))
}

// Report answers a gate.
func (w *ModelReplies) Report(report []byte) error {
	return w.Emit(append([]byte{tagModelReport}, report...))
}

// Progress tells how far a stage is; beyond its share of frames it is silent.
func (w *ModelReplies) Progress(stage ModelStage, done, total int) error {
	if w.told++; w.told > maxModelProgress || total < 1 || total > math.MaxUint16 || done < 0 || done > total {
		return nil
	}
	out := []byte{tagModelProgress, byte(stage)}
	out = binary.LittleEndian.AppendUint16(out, uint16(done))
	return w.Emit(binary.LittleEndian.AppendUint16(out, uint16(total)))
}

// Refuse answers with a code; one that is not of the list ends the worker.
func (w *ModelReplies) Refuse(code ModelCode) error {
	at := slices.Index(modelCodes, code)
	if at < 0 {
		return errModelFrame
	}
	return w.Emit([]byte{tagModelRefused, byte(at)})
}

// ReadModelRequest reads the next request; nil at the end.
func ReadModelRequest(r interface{ Read([]byte) (int, error) }) (*ModelRequest, error) {
	frame, err := sandbox.ReadFrame(r, sandbox.MaxFrame)
	if err != nil || len(frame) == 0 {
		return nil, err
	}
	var req ModelRequest
	if err := json.Unmarshal(frame, &req); err != nil {
		return nil, errModelFrame
	}
	if (req.Op == ModelPass) != (req.Pass != nil) || (req.Op == TwinPass) != (req.Twin != nil) {
		return nil, errModelFrame
	}
	return &req, nil
}
