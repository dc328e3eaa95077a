// Verify checkpoints and proofs of Caregrant with the code of others: golang.org/x/mod/sumdb/note reads the signed
// notes, transparency-dev/formats the checkpoints, transparency-dev/merkle verifies the proofs.
//
//	go run . KEYS CHECKPOINTS PROOFS
//
// KEYS from `caregrant audit key --trees`, CHECKPOINTS from `caregrant audit checkpoint`, PROOFS from
// `caregrant audit prove`, one JSON object a line. It stops at the first fault, with exit code 1.
package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"

	checkpoints "github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

// bundle is one line of `caregrant audit prove`: an inclusion, of an event or of a decision in its seal, or, with an
// old checkpoint, a consistency.
type bundle struct {
	Old        string          `json:"old"`
	Checkpoint string          `json:"checkpoint"`
	Number     uint64          `json:"number"`
	Leaf       json.RawMessage `json:"leaf"`
	Path       []string        `json:"path"`
	Row        json.RawMessage `json:"row"`
	RowNumber  uint64          `json:"row_number"`
	RowPath    []string        `json:"row_path"`
}

func main() {
	log.SetFlags(0)
	verifiers := map[string]note.Verifier{}
	for _, line := range strings.Fields(read(os.Args[1])) {
		verifier, err := note.NewVerifier(line)
		check(err, line)
		verifiers[verifier.Name()] = verifier
	}
	for _, text := range split(read(os.Args[2])) {
		opened := open(verifiers, text)
		fmt.Printf("x/mod/sumdb/note, formats: %s, %d leaves: signed by its key\n", opened.Origin, opened.Size)
	}
	scanner := bufio.NewScanner(strings.NewReader(read(os.Args[3])))
	scanner.Buffer(nil, 1<<24)
	for scanner.Scan() {
		var one bundle
		check(json.Unmarshal(scanner.Bytes(), &one), "a proof")
		fmt.Println("merkle:", one.verify(verifiers))
	}
	check(scanner.Err(), "proofs")
}

func (one bundle) verify(verifiers map[string]note.Verifier) string {
	last := open(verifiers, one.Checkpoint)
	if one.Old != "" {
		old := open(verifiers, one.Old)
		err := proof.VerifyConsistency(rfc6962.DefaultHasher, old.Size, last.Size, hashes(one.Path), old.Hash, last.Hash)
		check(err, last.Origin)
		return fmt.Sprintf("%s: the tree of %d leaves begins with that of %d", last.Origin, last.Size, old.Size)
	}
	include(one.Number, last.Size, one.Leaf, one.Path, last.Hash)
	where := fmt.Sprintf("leaf %d of %d of %s", one.Number, last.Size, last.Origin)
	if one.Row == nil {
		return where + ": included"
	}
	var seal struct {
		Count uint64 `json:"count"`
		Root  string `json:"root"`
	}
	check(json.Unmarshal(one.Leaf, &seal), where)
	root, err := hex.DecodeString(seal.Root)
	check(err, where)
	include(one.RowNumber, seal.Count, one.Row, one.RowPath, root)
	return fmt.Sprintf("decision %d of %d in %s: included", one.RowNumber, seal.Count, where)
}

func include(number, size uint64, row json.RawMessage, path []string, root []byte) {
	leaf := rfc6962.DefaultHasher.HashLeaf(canonical(row))
	check(proof.VerifyInclusion(rfc6962.DefaultHasher, number, size, leaf, hashes(path), root), string(row))
}

func open(verifiers map[string]note.Verifier, text string) *checkpoints.Checkpoint {
	origin, _, _ := strings.Cut(text, "\n")
	verifier, known := verifiers[origin]
	if !known {
		log.Fatalf("no key of %s was given", origin)
	}
	opened, _, _, err := checkpoints.ParseCheckpoint([]byte(text), origin, verifier)
	check(err, origin)
	return opened
}

// split takes apart a file of checkpoints, each of which ends with the line of its signature.
func split(text string) []string {
	var notes []string
	lines := strings.SplitAfter(text, "\n")
	for current := ""; len(lines) > 0; lines = lines[1:] {
		if current == "" && strings.TrimSpace(lines[0]) == "" {
			continue
		}
		current += lines[0]
		if strings.HasPrefix(lines[0], "— ") {
			notes, current = append(notes, current), ""
		}
	}
	return notes
}

// canonical writes a row by RFC 8785, for what rows hold: names in order, whole numbers, no blanks.
func canonical(row json.RawMessage) []byte {
	decoder := json.NewDecoder(bytes.NewReader(row))
	decoder.UseNumber()
	var value any
	check(decoder.Decode(&value), string(row))
	var written bytes.Buffer
	encoder := json.NewEncoder(&written)
	encoder.SetEscapeHTML(false)
	check(encoder.Encode(value), string(row))
	return bytes.TrimSuffix(written.Bytes(), []byte("\n"))
}

func hashes(path []string) [][]byte {
	decoded := make([][]byte, 0, len(path))
	for _, one := range path {
		hash, err := hex.DecodeString(one)
		check(err, one)
		decoded = append(decoded, hash)
	}
	return decoded
}

func read(path string) string {
	text, err := os.ReadFile(path)
	check(err, path)
	return string(text)
}

func check(err error, what string) {
	if err != nil {
		log.Fatalf("%s: %v", what, err)
	}
}
