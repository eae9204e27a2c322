// What Kubernetes and KEDA take: each kind of object, as strictly as the types made from their API descriptions say it.
import type { IDeployment } from "kubernetes-models/apps/v1/Deployment";
import type { IService } from "kubernetes-models/v1/Service";
import type { IStatefulSet } from "kubernetes-models/apps/v1/StatefulSet";
import type { INetworkPolicy } from "kubernetes-models/networking.k8s.io/v1/NetworkPolicy";
import type { IPodDisruptionBudget } from "kubernetes-models/policy/v1/PodDisruptionBudget";
import type { IScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject";
import type { IPodMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor";
import type { IPrometheusRule } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule";

export type Manifest = 
  | IDeployment
  | INetworkPolicy
  | IPodDisruptionBudget
  | IPodMonitor
  | IPrometheusRule
  | IScaledObject
  | IService
  | IStatefulSet;

// A patch names what it changes, and nothing else.
type Partly<T> = T extends (infer I)[] ? Partly<I>[] : T extends object ? { [K in keyof T]?: Partly<T[K]> } : T;
export type Patch = Partly<IDeployment>;
