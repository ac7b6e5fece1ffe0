package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"google.golang.org/grpc"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/encrypted"
	"github.com/sandgate/sandgate/compute/release"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

const (
	// encryptedSeats is how many calls on encrypted rows run at a time, one of an operator:
	// a call holds 768 KiB for each output of its model, 12 MiB at most, however many rows
	// it has.
	encryptedSeats = 8
	// encryptedWall bounds one call, what is sent and received included.
	encryptedWall = 3 * time.Minute
)

// EncryptedCall begins a call on encrypted rows.
type EncryptedCall struct {
	RequestID, Model  string
	Rows              int
	Seed, Key, Digest []byte
	Envelope, Salt    []byte
}

// EncryptedScores is the answer.
type EncryptedScores struct {
	Outputs [][]byte // encrypted, one for each output of the model
	Left    int64    // rows that may still be scored this month
	Receipt ledger.Receipt
}

// linear opens a model that gives scores of encrypted rows.
func (d *Domain) linear(ctx context.Context, operator, id string) (*model.Parameters, *encrypted.Weights, error) {
	file, _, _, err := d.usable(ctx, operator, id, nil)
	if err != nil {
		return nil, nil, err
	}
	d.log.View(func() {
		if x := d.state.UseEncrypted(operator, id, d.instant()); x != nil {
			err = refusal(*x)
		}
	})
	if err != nil {
		return nil, nil, err
	}
	p, err := model.Parse(file)
	if err != nil {
		d.opt.Logger.Error("the parameters of a model are missing or damaged", "model", id)
		return nil, nil, refusal(damagedModel)
	}
	w, err := encrypted.NewWeights(p.Coefficients)
	if err != nil {
		return nil, nil, refusal(policies.Reason{Code: "ENCRYPTED_TOO_WIDE", Rule: "model/" + id, SetBy: "sandgate",
			ZH:     fmt.Sprintf("模型过大：加密打分至多 %d 个输入、%d 个输出，系数绝对值之和小于 1023", encrypted.MaxInputs, encrypted.MaxOutputs),
			EN:     fmt.Sprintf("the model is too large: encrypted scores take at most %d inputs, %d outputs and coefficients that sum to less than 1023", encrypted.MaxInputs, encrypted.MaxOutputs),
			HintZH: "请去掉 --encrypted", HintEN: "leave --encrypted out"})
	}
	return p, w, nil
}

// GetModelInputs implements the service.
func (s *modelService) GetModelInputs(ctx context.Context, req *sandgatev1.GetModelInputsRequest) (*sandgatev1.ModelInputs, error) {
	id := modelIDOf(req.GetName())
	p, w, err := s.d.linear(ctx, caller(ctx), id)
	if err != nil {
		return nil, err
	}
	schema, _ := p.Schema()
	text, err := json.Marshal(schema)
	if err != nil {
		return nil, fmt.Errorf("failed to encode inputs: %w", err)
	}
	return &sandgatev1.ModelInputs{Name: "models/" + id + "/inputs", Schema: text, Inputs: int32(w.Inputs()), Outputs: int32(w.Outputs()), MostRows: encrypted.BlockRows}, nil
}

// seat takes an operator's seat for encrypted rows; done gives it back.
func (d *Domain) seat(operator string) (done func(), ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.scoring[operator] || len(d.scoring) >= encryptedSeats {
		return nil, false
	}
	d.scoring[operator] = true
	return func() {
		d.mu.Lock()
		delete(d.scoring, operator)
		d.mu.Unlock()
	}, true
}

// ScoreEncrypted scores rows that an operator keeps encrypted. next gives the
// ciphertexts, io.EOF at their end. The ledger counts the rows before one of them is
// looked at: they stay counted when the ciphertexts turn out to be none. send gets the
// scores while the operator has its seat: who does not take them holds up no memory but
// that of a seat.
func (d *Domain) ScoreEncrypted(ctx context.Context, operator string, c EncryptedCall, next func(context.Context) ([]byte, error), send func(context.Context, *EncryptedScores) error) error {
	switch {
	case !requestIDPattern.MatchString(c.RequestID):
		return invalid("REQUEST_ID", "request_id 必须是 UUID", "request_id must be a UUID")
	case c.Rows < 1 || c.Rows > encrypted.BlockRows:
		return refusal(policies.Reason{Code: "ROW_COUNT", Rule: "request", SetBy: "sandgate", ZH: fmt.Sprintf("一次须有 1 到 %d 行", encrypted.BlockRows), EN: fmt.Sprintf("a call holds 1 to %d rows", encrypted.BlockRows)})
	}
	ctx, cancel := context.WithTimeout(ctx, encryptedWall)
	defer cancel()
	_, weights, err := d.linear(ctx, operator, c.Model)
	if err != nil {
		return err
	}
	signed, err := d.openRequest(operator, c.RequestID, c.Envelope, c.Salt, request.CiphertextFields(hex.EncodeToString(c.Digest)))
	if err != nil {
		return err
	}
	done, ok := d.seat(operator)
	if !ok {
		return queueFull()
	}
	defer done()
	e, err := d.ckks.Evaluate(weights, c.Seed, c.Key, c.Rows, release.NewSource())
	if err != nil {
		return cipherRefused(err, 0)
	}
	if x := d.noEncrypted(signed, operator, c); x != nil {
		return x
	}
	answer := &EncryptedScores{}
	answer.Receipt, err = d.append(ctx, func(e *entry.Entry) error {
		if x := d.state.DecideEncrypted(operator, c.Model, int64(c.Rows), e.Time()); x != nil {
			return refusal(*x)
		}
		e.Kind, e.Actor, e.Signed = entry.KindModelScored, operator, signed
		e.ModelScored = &entry.ModelScored{Model: c.Model, Request: c.RequestID, Rows: int64(c.Rows), Encrypted: true}
		return nil
	})
	if err != nil {
		return err
	}
	hash := sha256.New()
	hash.Write(c.Seed)
	hash.Write(c.Key)
	for i := 1; ; i++ {
		part, err := next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		hash.Write(part)
		if err := e.Add(part); err != nil {
			return cipherRefused(err, i)
		}
	}
	if subtle.ConstantTimeCompare(hash.Sum(nil), c.Digest) != 1 {
		return policies.SignatureFault(request.Mismatch("body"), operator)
	}
	// What came meanwhile, an order or the end of a licence, counts for these scores too.
	var ended error
	settled := d.settled(ctx, func() {
		if x := d.state.UseEncrypted(operator, c.Model, d.instant()); x != nil {
			ended = refusal(*x)
		}
	})
	if err := errors.Join(settled, ended); err != nil {
		return err
	}
	for k := range weights.Outputs() {
		out, err := e.Reply(k)
		if err != nil {
			return cipherRefused(err, 0)
		}
		answer.Outputs = append(answer.Outputs, out)
	}
	d.log.View(func() { answer.Left = d.state.ScoresLeft(c.Model, d.instant()) })
	return send(ctx, answer)
}

// noEncrypted says why a signed call does not go on.
func (d *Domain) noEncrypted(signed *request.Signed, operator string, c EncryptedCall) (err error) {
	d.log.View(func() {
		switch x := d.state.CheckAct(signed, operator, state.ActScoreEncrypted(c.Model, int64(c.Rows)), d.instant()); {
		case d.state.ScoresCalled(operator, c.RequestID):
			err = invalid("REQUEST_ID_REUSED", "该 request_id 已用于一次打分", "the request_id was used for scores before")
		case x != nil:
			err = x
		default:
			if x := d.state.DecideEncrypted(operator, c.Model, int64(c.Rows), d.instant()); x != nil {
				err = refusal(*x)
			}
		}
	})
	return err
}

// cipherRefused names the ciphertext that is wrong, from 1; 0 is what begins the call.
func cipherRefused(err error, input int) error {
	var f *encrypted.Defect
	if !errors.As(err, &f) {
		return err
	}
	r := policies.Reason{Code: "CIPHERTEXT_FORM", Rule: "request", SetBy: "sandgate", ZH: f.ZH, EN: f.EN,
		HintZH: "请用 sandgate model score --encrypted 加密", HintEN: "encrypt with sandgate model score --encrypted"}
	if input > 0 {
		r.ZH, r.EN = "第 "+strconv.Itoa(input)+" 个输入："+f.ZH, "input "+strconv.Itoa(input)+": "+f.EN
		r.HintZH, r.HintEN = r.HintZH+"；行数已计", r.HintEN+"; the rows stay counted"
	}
	return refusal(r)
}

// ScoreEncrypted implements the service.
func (s *modelService) ScoreEncrypted(stream grpc.BidiStreamingServer[sandgatev1.ScoreEncryptedRequest, sandgatev1.ScoreEncryptedResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if len(first.GetCiphertext()) != 0 {
		return cipherBegins()
	}
	call := EncryptedCall{RequestID: first.GetRequestId(), Model: modelIDOf(first.GetName()), Rows: int(first.GetRows()), Seed: first.GetSeed(), Key: first.GetKey(),
		Digest: first.GetDigest(), Envelope: first.GetSignedRequest(), Salt: first.GetSalt()}
	return s.d.ScoreEncrypted(stream.Context(), caller(stream.Context()), call, received(stream.Recv), sent(stream.Send))
}

// sent hands scores over no longer than the call may last. A send under way ends with the
// stream.
func sent(send func(*sandgatev1.ScoreEncryptedResponse) error) func(context.Context, *EncryptedScores) error {
	return func(ctx context.Context, a *EncryptedScores) error {
		done := make(chan error, 1)
		go func() {
			err := send(&sandgatev1.ScoreEncryptedResponse{RowsLeft: a.Left, Receipt: receiptOf(a.Receipt)})
			for _, out := range a.Outputs {
				if err != nil || ctx.Err() != nil {
					break
				}
				err = send(&sandgatev1.ScoreEncryptedResponse{Ciphertext: out})
			}
			done <- err
		}()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return late(ctx)
		}
	}
}

// late is a call that took longer than it may, or that its operator gave up.
func late(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return refusal(policies.Reason{Code: "SCORING_FAILED", Rule: "execution", SetBy: "sandgate", ZH: "密文或分值未在时限内传送完；行数已计", EN: "ciphertexts or scores were not carried over in time; the rows stay counted",
		HintZH: "请在更快的网络上重试", HintEN: "try a faster network"})
}

func cipherBegins() error {
	return invalid("CIPHERTEXT_ORDER", "第一条消息开始调用，其余各条只含密文", "the first message begins the call, the others hold a ciphertext alone")
}

// received waits for messages no longer than the call may last: whoever sends slowly
// loses the seat. A receive under way ends with the stream.
func received(recv func() (*sandgatev1.ScoreEncryptedRequest, error)) func(context.Context) ([]byte, error) {
	type message struct {
		part []byte
		err  error
	}
	return func(ctx context.Context) ([]byte, error) {
		got := make(chan message, 1)
		go func() {
			msg, err := recv()
			if err == nil && (msg.GetRequestId() != "" || msg.GetName() != "" || len(msg.GetSignedRequest()) != 0) {
				err = cipherBegins()
			}
			got <- message{msg.GetCiphertext(), err}
		}()
		select {
		case m := <-got:
			return m.part, m.err
		case <-ctx.Done():
			return nil, late(ctx)
		}
	}
}
