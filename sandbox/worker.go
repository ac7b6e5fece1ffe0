package sandbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// argv[0] of the two stages. A worker is recognised by it alone, so no
// environment variable of the gateway can turn the gateway into a worker.
const (
	jailName   = "sandgate-jail"
	workerName = "sandgate-worker"
)

// Descriptors of a worker.
const (
	controlFD = 3
	resultFD  = 4
	// firstFreeFD and above must not survive into a worker.
	firstFreeFD = 5
)

// Kinds of frames on the result pipe: one byte before the body.
const (
	kindReady  = 'R'
	kindData   = 'D'
	kindEnd    = 'E'
	kindFailed = 'F'
	kindMemory = 'M'
	kindRefuse = 'X' // start-up failure: the layer that could not be set up
)

// jailSpec is what the parent tells both stages, in argv[1]. It holds no secret.
type jailSpec struct {
	Handler string   `json:"handler"`
	Layers  layer    `json:"layers"`
	Session bool     `json:"session,omitempty"`
	Libs    []string `json:"libs,omitempty"` // "source=target" of a dynamic executable
	Data    uint64   `json:"data"`           // RLIMIT_DATA in bytes
	Errno   bool     `json:"errno,omitempty"`
	Writes  bool     `json:"writes,omitempty"`
	Code    bool     `json:"code,omitempty"`
}

// jobHead precedes a job's payload on the control socket.
type jobHead struct {
	Limits Limits `json:"limits"`
}

func init() {
	// The first stage builds the jail on the main thread and executes the
	// second from it; a goroutine that moved to another thread would leave
	// part of the jail behind. The spawner's main thread is the one whose end
	// the workers do not survive.
	if IsWorker() || len(os.Args) == 2 && os.Args[0] == spawnerName {
		runtime.LockOSThread()
	}
	// It needs nothing of the program that is not initialised yet.
	if len(os.Args) == 2 && os.Args[0] == jailName {
		become(enterJail)
	}
}

// startEarly is called when a handler is registered as Early.
func startEarly(handler string) {
	if len(os.Args) != 2 || os.Args[0] != workerName {
		return
	}
	var spec jailSpec
	if err := json.Unmarshal([]byte(os.Args[1]), &spec); err == nil && spec.Handler == handler {
		become(work)
	}
}

// become runs a stage of a worker and exits.
func become(stage func(jailSpec) error) {
	var spec jailSpec
	if err := json.Unmarshal([]byte(os.Args[1]), &spec); err != nil {
		os.Exit(3)
	}
	if err := stage(spec); err != nil {
		// Only start-up failures come here: they name a layer, never data.
		_ = WriteFrame(fdWriter(resultFD), append([]byte{kindRefuse}, err.Error()...))
		os.Exit(4)
	}
	os.Exit(0)
}

// IsWorker says whether this process was started as a worker.
func IsWorker() bool {
	return len(os.Args) == 2 && (os.Args[0] == jailName || os.Args[0] == workerName)
}

// Main runs the worker and exits when this process is one; otherwise it returns
// at once. Call it first in main and in TestMain.
func Main() {
	if len(os.Args) == 2 {
		switch os.Args[0] {
		case canaryName:
			os.Exit(canary())
		case spawnerName:
			os.Exit(serveSpawner())
		}
	}
	if IsWorker() {
		become(work)
	}
}

// fdWriter writes to a blocking descriptor without the runtime's poller, whose
// system calls the sealed worker does not need.
type fdWriter int

func (w fdWriter) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := unix.Write(int(w), p[n:])
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

type fdReader int

func (r fdReader) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(r), p)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if n == 0 && len(p) > 0 {
			return 0, errClosed
		}
		return n, nil
	}
}

var errClosed = errors.New("control socket closed")

// work is the second stage: warm up, seal, announce, take jobs.
func work(spec jailSpec) error {
	runtime.UnlockOSThread()
	debug.SetTraceback("none")
	reg, ok := lookup(spec.Handler)
	if !ok {
		return fmt.Errorf("no handler %q in this executable", spec.Handler)
	}
	if reg.Warm != nil {
		if err := reg.Warm(); err != nil {
			return errors.New("handler warm-up failed")
		}
	}
	if err := seal(spec); err != nil {
		return err
	}
	out := fdWriter(resultFD)
	if err := WriteFrame(out, []byte{kindReady}); err != nil {
		return nil
	}
	for {
		payload, head, files, err := receiveJob(spec.Layers)
		if err != nil {
			return nil // the parent is gone or ended the session
		}
		end := byte(kindEnd)
		if err := serve(reg.Handler, payload, head, files, out); err != nil {
			switch {
			case errors.Is(err, errResultCap):
				return nil // the parent counts for itself and names the cause
			case errors.Is(err, ErrMemory):
				end = kindMemory
			default:
				end = kindFailed
			}
		}
		if err := WriteFrame(out, []byte{end}); err != nil || !spec.Session {
			return nil
		}
	}
}

func serve(h Handler, payload []byte, head jobHead, files []*os.File, out fdWriter) (err error) {
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
		// A panic's text may quote data; it ends here as a constant.
		if recover() != nil {
			err = errors.New("handler panicked")
		}
	}()
	var sent int64
	ctx := context.WithValue(context.Background(), limitsKey{}, head.Limits)
	return h(ctx, payload, files, func(frame []byte) error {
		sent += int64(len(frame))
		if sent > head.Limits.Result {
			// One byte over tells the parent, which enforces the cap, why.
			_ = WriteFrame(out, append([]byte{kindData}, make([]byte, min(head.Limits.Result+1, MaxFrame-1))...))
			return errResultCap
		}
		return WriteFrame(out, append([]byte{kindData}, frame...))
	})
}

// receiveJob reads a job: sixteen bytes carrying the descriptors, then the head
// and the payload as frames.
func receiveJob(set layer) ([]byte, jobHead, []*os.File, error) {
	var head jobHead
	fixed := make([]byte, 16)
	oob := make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, flags, _, err := unix.Recvmsg(controlFD, fixed, oob, unix.MSG_CMSG_CLOEXEC)
	for errors.Is(err, unix.EINTR) {
		n, oobn, flags, _, err = unix.Recvmsg(controlFD, fixed, oob, unix.MSG_CMSG_CLOEXEC)
	}
	if err != nil || n != len(fixed) || flags&unix.MSG_CTRUNC != 0 {
		return nil, head, nil, errClosed
	}
	want := int(binary.LittleEndian.Uint32(fixed))
	var files []*os.File
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, head, nil, errClosed
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return nil, head, nil, errClosed
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "job"))
		}
	}
	if len(files) != want {
		return nil, head, nil, errClosed
	}
	if set.has(layerSeccomp) && !set.has(layerNamespaces) {
		if err := undumpable(); err != nil {
			return nil, head, nil, err
		}
	}
	raw, err := ReadFrame(fdReader(controlFD), MaxFrame)
	if err != nil {
		return nil, head, nil, err
	}
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&head); err != nil {
		return nil, head, nil, err
	}
	payload, err := ReadFrame(fdReader(controlFD), MaxFrame)
	return payload, head, files, err
}
