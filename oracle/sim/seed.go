package sim

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
)

// embeddedEnvironment is what a Sim holds unless Config.Environment names
// another file.
//
//go:embed environment.json
var embeddedEnvironment []byte

// seed is the form of an environment file.
type seed struct {
	Service      serviceSeed       `json:"service"`
	Snapshots    []string          `json:"snapshots"`
	Applications []applicationSeed `json:"applications"`
}

type serviceSeed struct {
	Build string `json:"build"`
	// MaintenanceStart is the hour of the daily maintenance, as in 02:00.
	MaintenanceStart string `json:"maintenance_start"`
	TimeZone         string `json:"time_zone"`
}

type applicationSeed struct {
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Storage    string            `json:"storage"`
	Variables  map[string]string `json:"variables"`
	Dimensions []dimensionSeed   `json:"dimensions"`
	Cubes      []cubeSeed        `json:"cubes"`
	Jobs       []definition      `json:"jobs"`
	// Data holds the lines of data files, as Import Data reads them.
	Data [][]string `json:"data"`
}

type dimensionSeed struct {
	Name string `json:"name"`
	Type string `json:"type"`
	// Attributes are further column headers allowed in its metadata files.
	Attributes []string `json:"attributes"`
	// Members is the outline below the dimension: two blanks more for each
	// level, then name | alias | data storage | property=value | ...
	Members []string `json:"members"`
}

type cubeSeed struct {
	Name       string   `json:"name"`
	Storage    string   `json:"storage"` // BSO or ASO
	Dimensions []string `json:"dimensions"`
}

// definition is a saved job. Which fields matter depends on the type.
type definition struct {
	Type string `json:"type"`
	Name string `json:"name"`
	// Seconds is how long the job takes in simulated time; 0 means by its
	// type and the size of its input.
	Seconds float64 `json:"seconds,omitempty"`

	// Files names, by dimension, the CSV files of an Import Metadata job.
	Files map[string]string `json:"files,omitempty"`
	// File is the file in the repository that an import reads by default.
	File        string `json:"file,omitempty"`
	RefreshCube bool   `json:"refresh_cube,omitempty"`
	// Dimensions are those of an Export Metadata job.
	Dimensions []string `json:"dimensions,omitempty"`

	Cube      string `json:"cube,omitempty"`
	Source    string `json:"source,omitempty"` // Planning or Essbase
	Delimiter string `json:"delimiter,omitempty"`
	// Rows, Columns and POV are the member selections of an Export Data job.
	Rows    string `json:"rows,omitempty"`
	Columns string `json:"columns,omitempty"`
	POV     string `json:"pov,omitempty"`
	// Members is what a Clear Cube job clears; empty clears the whole cube.
	Members string `json:"members,omitempty"`

	Prompts []prompt `json:"prompts,omitempty"`
}

// prompt is a runtime prompt of a business rule or ruleset.
type prompt struct {
	Name string `json:"name"`
	// Dimension is what members the prompt takes; empty means any value.
	Dimension string `json:"dimension,omitempty"`
	Default   string `json:"default,omitempty"`
}

// loadSeed reads the environment file, or the embedded one if name is empty,
// and builds its applications once to find mistakes.
func loadSeed(name string) (seed, error) {
	text := embeddedEnvironment
	if name != "" {
		var err error
		if text, err = os.ReadFile(name); err != nil {
			return seed{}, fmt.Errorf("environment file: %w", err)
		}
	} else {
		name = "embedded environment.json"
	}
	var s seed
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return seed{}, fmt.Errorf("environment file %s: %w", name, err)
	}
	if _, err := s.build(); err != nil {
		return seed{}, fmt.Errorf("environment file %s: %w", name, err)
	}
	return s, nil
}

// build makes the applications.
func (s seed) build() ([]*application, error) {
	var applications []*application
	var problems []error
	names := map[string]bool{}
	for _, as := range s.Applications {
		a, err := as.build()
		if err == nil && names[as.Name] {
			err = errors.New("named twice")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("application %q: %w", as.Name, err))
			continue
		}
		names[as.Name] = true
		applications = append(applications, a)
	}
	if len(s.Applications) == 0 {
		problems = append(problems, errors.New("has no applications"))
	}
	return applications, errors.Join(problems...)
}

func (as applicationSeed) build() (*application, error) {
	if as.Name == "" {
		return nil, errors.New("needs a name")
	}
	a := newApplication(as)
	for _, ds := range as.Dimensions {
		if err := a.addDimension(ds); err != nil {
			return nil, fmt.Errorf("dimension %q: %w", ds.Name, err)
		}
	}
	for _, cs := range as.Cubes {
		if err := a.addCube(cs); err != nil {
			return nil, fmt.Errorf("cube %q: %w", cs.Name, err)
		}
	}
	for _, def := range as.Jobs {
		if err := a.checkDefinition(def); err != nil {
			return nil, fmt.Errorf("job %q: %w", def.Name, err)
		}
		a.definitions = append(a.definitions, def)
	}
	for i, lines := range as.Data {
		if err := a.seedData(lines); err != nil {
			return nil, fmt.Errorf("data %d: %w", i+1, err)
		}
	}
	return a, nil
}

// checkDefinition reports what a definition names and the application lacks.
func (a *application) checkDefinition(def definition) error {
	if !slices.ContainsFunc(jobTypes, func(t jobType) bool { return t.code == def.Type }) {
		return fmt.Errorf("unknown type %q", def.Type)
	}
	if def.Name == "" || a.definition(def.Type, def.Name) != nil {
		return errors.New("needs a name of its own")
	}
	dimensions := slices.Clone(def.Dimensions)
	for name := range def.Files {
		dimensions = append(dimensions, name)
	}
	for _, p := range def.Prompts {
		if p.Dimension != "" {
			dimensions = append(dimensions, p.Dimension)
		}
	}
	for _, name := range dimensions {
		if a.dimension(name) == nil {
			return fmt.Errorf("unknown dimension %q", name)
		}
	}
	if def.Cube != "" && a.cube(def.Cube) == nil {
		return fmt.Errorf("unknown cube %q", def.Cube)
	}
	for _, selection := range []string{def.Rows, def.Columns, def.POV, def.Members} {
		if _, err := parseSelection(selection); err != nil {
			return err
		}
	}
	return nil
}
