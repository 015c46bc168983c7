// Command sbom says, as CycloneDX 1.6 in JSON, what a Go program was built of: sbom FILE. It reads the list of modules that the linker wrote into the
// program, so that it holds what is in there, and not what a go.mod would allow. The same program gives the same bytes.
//
// It is a Go module of its own, so that pgark does not depend on CycloneDX.
package main

import (
	"debug/buildinfo"
	"fmt"
	"io"
	"os"

	"github.com/CycloneDX/cyclonedx-go"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: sbom FILE")
		os.Exit(2)
	}
	if err := write(os.Stdout, os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "sbom: error: %v\n", err)
		os.Exit(1)
	}
}

// write prints the bill of materials of the program at that path.
func write(w io.Writer, path string) error {
	program, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read what %s was built of: %w", path, err)
	}
	encoder := cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false)
	return encoder.EncodeVersion(bill(program, info), cyclonedx.SpecVersion1_6)
}
