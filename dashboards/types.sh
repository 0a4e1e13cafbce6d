#!/bin/sh
# Holds the dashboards to the types of npm's @grafana/schema. Needs node, npm and their registry, which nothing else here does:
# test.sh does not run it.
set -eu
schema=13.2.3
typescript=5.9.3

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --no-audit --no-fund --silent "@grafana/schema@$schema" "typescript@$typescript"

cat >types.ts <<'END'
import type { AnnotationQuery, Dashboard, DataQuery, Panel, VariableModel } from '@grafana/schema';
import type * as bargauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// Enums as JSON has them.
export type Json<T> = T extends string ? `${T}` : T extends (infer U)[] ? Json<U>[]
    : T extends object ? { [K in keyof T]: Json<T[K]> } : T;

// The package has no types of Prometheus' data source: these are the fields that it reads.
type Query = DataQuery & { expr: string; format?: 'time_series' | 'table' | 'heatmap'; instant?: boolean; interval?: string;
    legendFormat?: string; range?: boolean };
export type Targets = Json<Query[]>;
type Annotation = Omit<AnnotationQuery, 'target'> & { target: Query; titleFormat?: string };
type Variable = VariableModel & { definition?: string };
export type Model = Json<Omit<Dashboard, 'annotations' | 'templating'> & {
    annotations: { list: Annotation[] };
    templating: { list: Variable[] };
}>;

export type Options = {
    bargauge: Json<Partial<bargauge.Options>>;
    row: undefined;
    stat: Json<Partial<stat.Options>>;
    table: Json<Partial<table.Options>>;
    timeseries: Json<Partial<timeseries.Options>>;
};
export type Lines = Json<Partial<timeseries.FieldConfig>>;

// @ts-expect-error A misspelt field is found.
export const misspelt: Json<Panel> = { type: 'stat', gridPoss: { x: 0, y: 0, w: 1, h: 1 } };
// @ts-expect-error A value that no enum has is found.
export const unknown: Options['stat'] = { colorMode: 'backgrund' };
END

node - "$here"/grafana/*.json <<'END'
const { readFileSync, writeFileSync } = require('node:fs');
for (const path of process.argv.slice(2)) {
    const dashboard = JSON.parse(readFileSync(path, 'utf8'));
    const text = (value) => JSON.stringify(value, null, 1) ?? 'undefined';
    let source = "import type { Lines, Model, Options, Targets } from './types.js';\n";
    source += `export const model: Model = ${text(dashboard)};\n`;
    dashboard.panels.forEach((panel, at) => {
        source += `export const options${at}: Options['${panel.type}'] = ${text(panel.options)};\n`;
        if (panel.targets) source += `export const targets${at}: Targets = ${text(panel.targets)};\n`;
        const custom = panel.fieldConfig?.defaults?.custom;
        if (custom) source += `export const custom${at}: Lines = ${text(custom)};\n`;
    });
    writeFileSync(path.split('/').pop().replace('.json', '.ts'), source);
}
END
npx tsc --strict --noEmit --skipLibCheck --module nodenext --moduleResolution nodenext ./*.ts
echo "$(ls "$here"/grafana/*.json | wc -l) dashboards fit @grafana/schema $schema"
