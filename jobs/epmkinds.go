package jobs

import "time"

// Params of the EPM kinds. The names are the vendor's, in snake case; every kind that runs a
// saved job takes its name as job.
type (
	// SavedJob names the job that a kind runs.
	SavedJob struct {
		Job string `json:"job,omitempty" maxLength:"256" doc:"The job saved in the application; left out, it is the task's name"`
	}
	importMetadataParams struct {
		SavedJob
		RefreshCube *bool `json:"refresh_cube,omitempty" doc:"Refresh the cube when the import succeeds; left out, as the saved job says"`
	}
	importDataParams struct {
		SavedJob
		Delimiter       string `json:"delimiter,omitempty" enum:"comma,tab" doc:"What parts the columns; left out, as the saved job says"`
		DateFormat      string `json:"date_format,omitempty" enum:"MM-DD-YYYY,DD-MM-YYYY,YYYY-MM-DD" doc:"How dates are written; left out, as the saved job says"`
		IncludeMetadata *bool  `json:"include_metadata,omitempty" doc:"Take in members that are new; left out, as the saved job says"`
	}
	exportDataParams struct {
		SavedJob
		Delimiter            string `json:"delimiter,omitempty" enum:"comma,tab" doc:"What parts the columns; left out, as the saved job says"`
		ExportSmartListAs    string `json:"export_smart_list_as,omitempty" enum:"label,name" doc:"How Smart Lists are written"`
		IncludeDynamicMember *bool  `json:"include_dynamic_members,omitempty" doc:"Export members that are calculated dynamically"`
		DecimalScale         *int   `json:"export_data_decimal_scale,omitempty" minimum:"0" maximum:"16" doc:"Digits after the decimal point"`
	}
	refreshCubeParams struct {
		SavedJob
		UsersDuring string `json:"allowed_users_during_cube_refresh,omitempty" enum:"Administrators,All Users" doc:"Who may work while the cube is refreshed"`
		UsersAfter  string `json:"allowed_users_after_cube_refresh,omitempty" enum:"Administrators,All Users" doc:"Who may work afterwards"`
		Terminate   *bool  `json:"terminate_active_requests_before_cube_refresh,omitempty" doc:"End requests that run"`
		LogOff      *bool  `json:"log_off_all_users_before_cube_refresh,omitempty" doc:"Log off all users first"`
	}
	runRuleParams struct {
		SavedJob
		Prompts map[string]string `json:"prompts,omitempty" doc:"Runtime prompts by name; those left out take their default"`
	}
	clearCubeParams struct {
		SavedJob
		Members  string `json:"members,omitempty" doc:"Partial clear of an ASO cube: a member selection instead of the saved one"`
		MDXQuery string `json:"mdx_query,omitempty" doc:"Partial clear of an ASO cube: an MDX set instead of the saved one"`
	}
)

// EPMKinds are the kinds that run saved jobs of an EPM Cloud application.
func EPMKinds() []*Kind {
	return []*Kind{
		epmImport(&Kind{
			Name: "epm.importMetadata", Title: "Import metadata", Params: &importMetadataParams{}, Exclusive: true,
			JobType: "IMPORT_METADATA", Check: checkMetadataFiles, Expected: 10 * time.Minute,
		}, "importZipFileName", metadataFiles),
		epmExport(&Kind{
			Name: "epm.exportMetadata", Title: "Export metadata", Params: &SavedJob{}, JobType: "EXPORT_METADATA",
		}, "exportZipFileName"),
		epmImport(&Kind{
			Name: "epm.importData", Title: "Import data", Params: &importDataParams{},
			JobType: "IMPORT_DATA", Check: checkDataFiles,
		}, "importFileName", dataFiles),
		epmExport(&Kind{
			Name: "epm.exportData", Title: "Export data", Params: &exportDataParams{}, JobType: "EXPORT_DATA",
		}, "exportFileName"),
		epmRun(&Kind{
			Name: "epm.refreshCube", Title: "Refresh cube", Params: &refreshCubeParams{}, JobType: "CUBE_REFRESH", Exclusive: true,
		}),
		epmRun(&Kind{
			Name: "epm.runBusinessRule", Title: "Run a business rule", Params: &runRuleParams{}, JobType: "RULES",
		}),
		epmRun(&Kind{
			Name: "epm.runRuleset", Title: "Run a ruleset", Params: &runRuleParams{}, JobType: "RULESET",
		}),
		epmRun(&Kind{
			Name: "epm.clearCube", Title: "Clear cube", Params: &clearCubeParams{}, JobType: "CLEAR_CUBE",
		}),
	}
}

// epmImport completes a kind that uploads files and imports them: upload, submit, follow, fetch.
// fileParam is the start call's name for the uploaded file, choose picks what is uploaded.
func epmImport(k *Kind, fileParam string, choose chooser) *Kind {
	k.Product, k.Input, k.First, k.Tidy = "epm", InputRequired, "upload", tidyEPM
	k.Steps = map[string]Step{
		"upload": {Shows: "uploading", Percent: 10, Holds: true, Do: uploadInput(choose)},
		"submit": {Shows: "starting", Percent: 40, Starts: true, Do: submitEPM(k.JobType, func(r *Run, p map[string]any) {
			p[fileParam], p["errorFile"] = inboxName(r.Task), errorName(r.Task)
		})},
		"follow": {Shows: "importing", Percent: 42, Do: followEPM("fetch")},
		"fetch":  {Shows: "fetching results", Percent: 90, Holds: true, Do: fetchImport},
	}
	return k
}

// epmExport completes a kind that exports into a file and fetches it: submit, follow, fetch.
func epmExport(k *Kind, fileParam string) *Kind {
	k.Product, k.Input, k.First, k.Tidy = "epm", InputNone, "submit", tidyEPM
	k.Steps = map[string]Step{
		"submit": {Shows: "starting", Percent: 5, Starts: true, Do: submitEPM(k.JobType, func(r *Run, p map[string]any) {
			p[fileParam] = exportName(r.Task)
		})},
		"follow": {Shows: "exporting", Percent: 10, Do: followEPM("fetch")},
		"fetch":  {Shows: "fetching results", Percent: 90, Holds: true, Do: fetchExport},
	}
	return k
}

// epmRun completes a kind that runs something and brings no files: submit, follow.
func epmRun(k *Kind) *Kind {
	k.Product, k.Input, k.First = "epm", InputNone, "submit"
	k.Steps = map[string]Step{
		"submit": {Shows: "starting", Percent: 5, Starts: true, Do: submitEPM(k.JobType, func(*Run, map[string]any) {})},
		"follow": {Shows: "running", Percent: 10, Do: followEPM("")},
	}
	return k
}
