// What Grafana takes, as strictly as @grafana/schema says it: for the two kinds of panels that the dashboard has.
import type { Dashboard, DataSourceRef, FieldConfig, GraphFieldConfig, Panel, RowPanel } from "@grafana/schema";
import type { Options as StatOptions } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type { Options as TimeSeriesOptions } from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

// In JSON an enum is its value.
type Json<T> = T extends string ? `${T}` : T extends number ? T : T extends (infer I)[] ? Json<I>[]
  : T extends object ? { [K in keyof T]: Json<T[K]> } : T;

type Target = {
  datasource: DataSourceRef; editorMode: "code" | "builder"; expr: string; legendFormat: string; range: boolean; refId: string;
};

type Shown<Kind extends string, Options, Custom> = Omit<Panel, "type" | "options" | "fieldConfig" | "targets"> & {
  type: Kind;
  options: Options;
  fieldConfig: { defaults: Omit<FieldConfig, "custom"> & { custom?: Custom }; overrides: [] };
  targets: Target[];
};

export type Checked = Json<
  Omit<Dashboard, "panels"> & {
    panels: (RowPanel | Shown<"stat", StatOptions, never> | Shown<"timeseries", TimeSeriesOptions, GraphFieldConfig>)[];
  }
>;
