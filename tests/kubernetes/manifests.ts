// What Kubernetes and KEDA take: each kind of object, as strictly as the types made from their API descriptions say it.
import type { IDeployment } from "kubernetes-models/apps/v1/Deployment";
import type { INetworkPolicy } from "kubernetes-models/networking.k8s.io/v1/NetworkPolicy";
import type { IPodDisruptionBudget } from "kubernetes-models/policy/v1/PodDisruptionBudget";
import type { IScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject";

export type Manifest = IDeployment | INetworkPolicy | IPodDisruptionBudget | IScaledObject;

// A patch names what it changes, and nothing else.
type Partly<T> = T extends (infer I)[] ? Partly<I>[] : T extends object ? { [K in keyof T]?: Partly<T[K]> } : T;
export type Patch = Partly<IDeployment>;
