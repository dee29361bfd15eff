// Trains a new model on a text and lets it go on with a prompt: train.py in Go, through cgo and libnlm.
//
//	export CGO_CFLAGS="$(pkg-config --cflags nlm)" CGO_LDFLAGS="$(pkg-config --libs nlm)"
//	go run train.go text.txt vocabulary.gguf new.gguf "Once upon a time" 100
package main

/*
#include <nlm/train.h>
#include <stdlib.h>
#include <string.h>

static nlm_error new_error(void) {
    const nlm_error error = NLM_ERROR_INIT;
    return error;
}

// Go does not call C's function pointers: the text is kept in a buffer until all of it is there.
typedef struct text {
    char *bytes;
    size_t length, capacity;
} text;

static int32_t keep_text(void *user, const char *bytes, size_t length) {
    text *t = user;
    if (length > t->capacity - t->length) return 1;
    memcpy(t->bytes + t->length, bytes, length);
    t->length += length;
    return 0;
}

static nlm_status generate(nlm_session *session, const nlm_generate_options *options, text *out, nlm_error *error) {
    return nlm_session_generate(session, NULL, options, keep_text, out, NULL, error);
}
*/
import "C"

import (
	"fmt"
	"os"
	"strconv"
	"unsafe"
)

const (
	length = 64 // tokens of a sequence
	rows   = 4  // sequences of a step
)

// call gives f an nlm_error to fill, and makes what it says a Go error.
func call(f func(e *C.nlm_error) C.nlm_status) error {
	e := C.new_error()
	if status := f(&e); status != C.NLM_OK {
		return fmt.Errorf("%s: %s (%s)", C.GoString(&e.where[0]), C.GoString(&e.msg[0]),
			C.GoString(C.nlm_status_string(status)))
	}
	return nil
}

// cText is a C string that lives until free is called.
func cText(text string) (*C.char, func()) {
	c := C.CString(text)
	return c, func() { C.free(unsafe.Pointer(c)) }
}

// withModel opens the model of a file with a session, for use alone.
func withModel(engine *C.nlm_engine, path string, use func(model *C.nlm_model, session *C.nlm_session) error) error {
	var model *C.nlm_model
	var session *C.nlm_session
	cPath, free := cText(path)
	defer free()
	options := C.nlm_model_options{flags: C.NLM_MODEL_NO_PROMPT_CACHE}
	options.struct_size = C.uint32_t(unsafe.Sizeof(options))
	err := call(func(e *C.nlm_error) C.nlm_status { return C.nlm_model_load(engine, cPath, &options, &model, e) })
	if err != nil {
		return err
	}
	defer C.nlm_model_unload(model)
	err = call(func(e *C.nlm_error) C.nlm_status { return C.nlm_session_create(model, &session, e) })
	if err != nil {
		return err
	}
	defer C.nlm_session_destroy(session)
	return use(model, session)
}

// encode gives the tokens of a text: first how many there are, then the tokens.
func encode(model *C.nlm_model, text string) ([]C.int32_t, error) {
	cString, free := cText(text)
	defer free()
	var count C.size_t
	var ids []C.int32_t
	for {
		var out *C.int32_t
		if len(ids) > 0 {
			out = &ids[0]
		}
		err := call(func(e *C.nlm_error) C.nlm_status {
			return C.nlm_encode(model, cString, C.size_t(len(text)), C.NLM_TEXT_BOS, out, C.size_t(len(ids)), &count, e)
		})
		if err != nil || len(ids) == int(count) {
			return ids, err
		}
		ids = make([]C.int32_t, count)
	}
}

// step trains with rows from the text, one behind the other, from where the step before ended.
func step(training *C.nlm_training, ids []C.int32_t, number int) (C.nlm_training_metrics, error) {
	const n = rows * length
	// what a struct points to has to be C's memory
	memory := C.calloc(n+rows, 4)
	defer C.free(memory)
	row := unsafe.Slice((*C.int32_t)(memory), n)
	lengths := unsafe.Slice((*C.uint32_t)(unsafe.Add(memory, 4*n)), rows)
	for i := range row {
		row[i] = ids[(number*n+i)%len(ids)]
	}
	for i := range lengths {
		lengths[i] = length
	}
	batch := C.nlm_training_batch{n_seqs: rows, ids: &row[0], lengths: &lengths[0]}
	batch.struct_size = C.uint32_t(unsafe.Sizeof(batch))
	metrics := C.nlm_training_metrics{}
	metrics.struct_size = C.uint32_t(unsafe.Sizeof(metrics))
	err := call(func(e *C.nlm_error) C.nlm_status { return C.nlm_training_step(training, &batch, 1, &metrics, e) })
	return metrics, err
}

func train(engine *C.nlm_engine, text, vocabulary, path string, steps int) error {
	var training *C.nlm_training
	architecture, freeArchitecture := cText("mamba")
	defer freeArchitecture()
	words, freeWords := cText(vocabulary)
	defer freeWords()
	to, freeTo := cText(path)
	defer freeTo()
	options := C.nlm_training_options{architecture: architecture, n_embd: 64, n_layer: 2, n_ctx: length,
		vocabulary: words, seed: 1, max_tokens: rows * length,
		max_seqs: rows, learning_rate: 1e-2, warmup_steps: C.uint32_t(steps / 10), steps: C.uint64_t(steps), clip_norm: 1}
	options.struct_size = C.uint32_t(unsafe.Sizeof(options))
	err := call(func(e *C.nlm_error) C.nlm_status { return C.nlm_training_create(engine, &options, &training, e) })
	if err != nil {
		return err
	}
	defer C.nlm_training_destroy(training)
	export := func() error {
		return call(func(e *C.nlm_error) C.nlm_status { return C.nlm_training_export(training, nil, to, e) })
	}
	if err = export(); err != nil { // untrained: it knows how text becomes tokens
		return err
	}
	var ids []C.int32_t
	err = withModel(engine, path, func(model *C.nlm_model, _ *C.nlm_session) (err error) {
		ids, err = encode(model, text)
		return err
	})
	for number := 0; err == nil && number < steps; number++ {
		var m C.nlm_training_metrics
		if m, err = step(training, ids, number); err == nil {
			fmt.Fprintf(os.Stderr, "step %d: loss %.3f, gradient %.2f, %.0f tokens/s\n", m.step, float64(m.loss),
				float64(m.gradient_norm), float64(m.n_tokens)/float64(m.seconds))
		}
	}
	if err != nil {
		return err
	}
	return export()
}

// continued is the prompt's continuation, the likeliest token each time.
func continued(model *C.nlm_model, session *C.nlm_session, prompt string, tokens int) (string, error) {
	ids, err := encode(model, prompt)
	if err != nil {
		return "", err
	}
	err = call(func(e *C.nlm_error) C.nlm_status {
		return C.nlm_session_extend(session, &ids[0], C.size_t(len(ids)), e)
	})
	if err != nil {
		return "", err
	}
	const room = 1 << 16
	text := (*C.text)(C.calloc(1, C.sizeof_text))
	text.bytes, text.capacity = (*C.char)(C.malloc(room)), room
	defer C.free(unsafe.Pointer(text))
	defer C.free(unsafe.Pointer(text.bytes))
	options := C.nlm_generate_options{max_tokens: C.uint64_t(tokens)}
	options.struct_size = C.uint32_t(unsafe.Sizeof(options))
	err = call(func(e *C.nlm_error) C.nlm_status { return C.generate(session, &options, text, e) })
	return C.GoStringN(text.bytes, C.int(text.length)), err
}

func run(arguments []string) error {
	var engine *C.nlm_engine
	steps, err := strconv.Atoi(arguments[4])
	if err != nil {
		return err
	}
	text, err := os.ReadFile(arguments[0])
	if err != nil {
		return err
	}
	err = call(func(e *C.nlm_error) C.nlm_status { return C.nlm_engine_create(nil, &engine, e) })
	if err != nil {
		return err
	}
	defer C.nlm_engine_destroy(engine)
	if err = train(engine, string(text), arguments[1], arguments[2], steps); err != nil {
		return err
	}
	return withModel(engine, arguments[2], func(model *C.nlm_model, session *C.nlm_session) error {
		story, err := continued(model, session, arguments[3], 40)
		fmt.Print(story)
		return err
	})
}

func main() {
	if len(os.Args) != 6 {
		fmt.Fprintf(os.Stderr, "usage: %s TEXT VOCABULARY.gguf MODEL.gguf PROMPT STEPS\n", os.Args[0])
		os.Exit(2)
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
