// Generated from asyncapi.yaml by `make spec`.
export interface Consent {
  'by': string;
  'at': string;
}
export interface DeadLetter {
  'task_id': string | null;
  'kind': Kind;
  'subject': string;
  'body': string;
  'body_encoding': BodyEncoding;
  'body_truncated': boolean;
  'headers': Record<string, string>;
  'error': ErrorDetail;
  'attempts': number;
  'stream_sequence': number;
  'time': string;
}
export interface DeleteLettersRequest {
  'task_id'?: string | null;
  'kind'?: Kind | null;
  'code'?: ErrorCode | null;
  'after'?: number | null;
}
export interface Deleted {
  'deleted': boolean;
  'tasks': number;
  'more_after': string | null;
}
export interface DiarizationResult {
  'kind': 'diarization';
  'task_id': string;
  'audio_file_id': string;
  'user_id': number | string;
  'speakers': number;
  'segments': Turn[];
  'duration': number;
  'voices': Record<string, SpeakerVoice> | null;
  'voices_error': ErrorDetail | null;
  'model': Model;
  'audio_sha256': string;
  'cached': boolean;
  'object': ReservedObject | null;
  'created_at': string;
}
export interface DiarizationTask {
  'task_id': string;
  'audio_file_id': string;
  'user_id': number | string;
  'min_speakers'?: number | null;
  'max_speakers'?: number | null;
  'keep_seconds'?: number | null;
  'not_before'?: string | null;
  'identify'?: boolean | null;
}
export interface DiscoveryRequest {
  
}
export interface Endpoint {
  'name': string;
  'subject': string;
  'queue_group': string;
  'metadata': Record<string, string> | null;
}
export interface EndpointStats {
  'name': string;
  'subject': string;
  'queue_group': string;
  'metadata': Record<string, string> | null;
  'num_requests': number;
  'num_errors': number;
  'last_error': string;
  'processing_time': number;
  'average_processing_time': number;
  'data': any;
}
export interface EnrollRequest {
  'user_id': number | string;
  'task_id': string;
  'speaker'?: string | null;
  'name'?: string | null;
  'voice'?: string | null;
  'consent': Consent;
  'another'?: boolean | null;
}
export interface Erased {
  'task_id': string;
  'user_id': number | string | null;
  'reason': ErasureReason;
  'time': string;
}
export interface ErrorDetail {
  'code': ErrorCode;
  'message': string;
}
export interface ErrorReply {
  'error': ErrorDetail;
}
export interface ForgetRequest {
  'user_id': number | string;
  'voice': string;
}
export interface Forgotten {
  'voice': string;
  'user_id': number | string;
  'at': string;
}
export interface Interval {
  'start': number;
  'end': number;
}
export interface LettersDeleted {
  'deleted': number;
  'more_after': number | null;
}
export interface ListRequest {
  'user_id'?: number | string | null;
  'state'?: State | null;
  'limit'?: number | null;
  'before'?: string | null;
}
export interface ListedTask {
  'task_id': string;
  'kind': Kind;
  'state': State;
  'stage': Stage | null;
  'progress': number;
  'attempt': number;
  'duration_seconds': number | null;
  'lag_seconds': number | null;
  'speakers': number | null;
  'eta_seconds': number | null;
  'not_before': string | null;
  'error': ErrorDetail | null;
  'priority': Priority;
  'worker': string | null;
  'created_at': string;
  'started_at': string | null;
  'finished_at': string | null;
  'result_available': boolean;
  'user_id': number | string | null;
  'audio_file_id': string | null;
}
export interface LiveAudio {
  'codec'?: Codec | null;
  'sample_rate'?: number | null;
  'channels'?: number | null;
}
export interface LiveTask {
  'task_id': string;
  'user_id': number | string;
  'audio'?: LiveAudio | null;
  'idle_seconds'?: number | null;
  'model'?: string | null;
  'language'?: string | null;
  'vocabulary'?: string[] | null;
  'prompt'?: string | null;
  'translate'?: boolean | null;
  'channels'?: Channels | null;
  'numbers'?: Numbers | null;
  'redact'?: TaskRedaction | null;
  'min_speakers'?: number | null;
  'max_speakers'?: number | null;
  'keep_seconds'?: number | null;
  'keep_audio'?: boolean | null;
  'identify'?: boolean | null;
  'diarize'?: boolean | null;
  'word_timestamps'?: boolean | null;
  'turns'?: boolean | null;
}
export interface Model {
  'name': string;
  'revision': string;
}
export interface Partial {
  'task_id': string;
  'channel': number | null;
  'start': number;
  'end': number;
  'stable': string;
  'text': string;
  'language': string | null;
  'speaker': string | null;
}
export interface Problem {
  'what': string;
  'next_step': string;
}
export interface ProgressEvent {
  'task_id': string;
  'kind': Kind;
  'state': State;
  'stage': Stage | null;
  'progress': number;
  'attempt': number;
  'duration_seconds': number | null;
  'lag_seconds': number | null;
  'speakers': number | null;
  'eta_seconds': number | null;
  'not_before': string | null;
  'error': ErrorDetail | null;
  'queue_position': number | null;
  'seconds_ahead': number | null;
  'retry_at': string | null;
  'user_id': number | string | null;
  'audio_file_id': string | null;
  'priority': Priority | null;
  'processed_seconds': number | null;
  'max_attempts': number;
  'sequence': number;
  'worker': string | null;
  'time': string;
}
export interface QueueOverview {
  'queues': QueueStatus[];
  'dead_letters': number;
  'users': UserLoad[];
}
export interface QueueRequest {
  
}
export interface QueueStatus {
  'queue': TaskType;
  'kind': Kind;
  'priority': Priority;
  'waiting': number;
  'scheduled': number;
  'running': number;
  'oldest': string | null;
}
export interface RedactRequest {
  'text': string;
  'language'?: string | null;
  'redact': Redaction;
}
export interface Redacted {
  'text': string;
  'entities': RedactedEntity[];
}
export interface RedactedEntity {
  'type': EntityType;
  'start': number;
  'end': number;
  'score': number;
  'number': number;
}
export interface Redaction {
  'entities': (EntityType | EntityGroup)[];
  'replace'?: Replacement | null;
}
export interface Reference {
  'task_id': string;
  'speaker': string;
  'seconds': number;
  'at': string;
}
export interface RenameRequest {
  'user_id': number | string;
  'voice': string;
  'name': string;
}
export interface ReplayRequest {
  'task_id'?: string | null;
  'kind'?: Kind | null;
  'code'?: ErrorCode | null;
}
export interface Replayed {
  'replayed': number;
}
export interface ReservedObject {
  'bucket': string;
  'name': string;
  'digest': string;
  'size': number;
}
export interface ReservedWindow {
  'regions': any[][];
  'samples': string;
  'speech'?: string | null;
  'channel'?: number | null;
  'context'?: number | null;
}
export interface ResultRequest {
  'task_id': string;
  'max_line_chars'?: number | null;
  'max_lines'?: number | null;
  'max_cue_seconds'?: number | null;
  'format'?: ResultFormat | null;
}
export interface SameSpeaker {
  'speaker': string;
  'is': string;
}
export interface Segment {
  'start': number;
  'end': number;
  'text': string;
  'speaker': string | null;
  'language': string | null;
  'channel': number | null;
  'words': Word[] | null;
  'confidence': number | null;
  'avg_logprob': number | null;
  'no_speech_prob': number | null;
}
export interface SegmentsEvent {
  'task_id': string;
  'attempt': number;
  'sequence': number;
  'language': string | null;
  'channel': number | null;
  'processed_seconds': number;
  'segments': Segment[];
  'untranscribed': Interval[];
  'entities': SpokenEntity[];
  'finalized': string[];
}
export interface ServiceInfo {
  'name': string;
  'id': string;
  'version': string;
  'metadata': Record<string, string>;
  'type': string;
  'description': string;
  'endpoints': Endpoint[];
}
export interface ServicePing {
  'name': string;
  'id': string;
  'version': string;
  'metadata': Record<string, string>;
  'type': string;
}
export interface ServiceStats {
  'name': string;
  'id': string;
  'version': string;
  'metadata': Record<string, string>;
  'type': string;
  'started': string;
  'endpoints': EndpointStats[];
}
export interface SpeakerVoice {
  'voice': string | null;
  'name': string | null;
  'score': number | null;
}
export interface SpeakersEvent {
  'task_id': string;
  'sequence': number;
  'channel': number | null;
  'turns': Turn[];
  'same': SameSpeaker[];
  'voices': Record<string, SpeakerVoice>;
  'settled_until': number;
}
export interface SpokenEntity {
  'type': EntityType;
  'start': number;
  'end': number;
  'score': number;
  'number': number;
  'channel': number | null;
}
export interface TaskPage {
  'tasks': ListedTask[];
  'more_before': string | null;
}
export interface TaskRedaction {
  'entities': (EntityType | EntityGroup)[];
  'replace'?: Replacement | null;
  'audio'?: AudioRedaction | null;
  'partials'?: boolean | null;
}
export interface TaskRequest {
  'task_id': string;
}
export interface TaskStatus {
  'task_id': string;
  'kind': Kind;
  'state': State;
  'stage': Stage | null;
  'progress': number;
  'attempt': number;
  'duration_seconds': number | null;
  'lag_seconds': number | null;
  'speakers': number | null;
  'eta_seconds': number | null;
  'not_before': string | null;
  'error': ErrorDetail | null;
  'priority': Priority;
  'worker': string | null;
  'created_at': string;
  'started_at': string | null;
  'finished_at': string | null;
  'result_available': boolean;
  'queue_position': number | null;
  'seconds_ahead': number | null;
  'retry_at': string | null;
  'task': DiarizationTask | TranscriptionTask | LiveTask | null;
}
export interface TranscribeOptions {
  'model'?: string | null;
  'language'?: string | null;
  'vocabulary'?: string[] | null;
  'prompt'?: string | null;
  'translate'?: boolean | null;
  'channels'?: Channels | null;
  'numbers'?: Numbers | null;
  'redact'?: TaskRedaction | null;
}
export interface TranscriptionResult {
  'kind': 'transcription';
  'task_id': string;
  'audio_file_id': string;
  'user_id': number | string;
  'text': string;
  'language': string | null;
  'languages': Record<string, number>;
  'duration': number;
  'segments': Segment[];
  'untranscribed': Interval[];
  'entities': SpokenEntity[];
  'warnings': string[];
  'channels': number | null;
  'speakers': number | null;
  'diarization_error': ErrorDetail | null;
  'voices': Record<string, SpeakerVoice> | null;
  'voices_error': ErrorDetail | null;
  'audio_error': ErrorDetail | null;
  'redacted_audio': ReservedObject | null;
  'model': Model;
  'source': Source;
  'audio_sha256': string | null;
  'cached': boolean;
  'object': ReservedObject | null;
  'created_at': string;
}
export interface TranscriptionTask {
  'task_id': string;
  'audio_file_id': string;
  'user_id': number | string;
  'model'?: string | null;
  'language'?: string | null;
  'vocabulary'?: string[] | null;
  'prompt'?: string | null;
  'translate'?: boolean | null;
  'channels'?: Channels | null;
  'numbers'?: Numbers | null;
  'redact'?: TaskRedaction | null;
  'min_speakers'?: number | null;
  'max_speakers'?: number | null;
  'keep_seconds'?: number | null;
  'not_before'?: string | null;
  'identify'?: boolean | null;
  'diarize'?: boolean | null;
  'word_timestamps'?: boolean | null;
}
export interface Turn {
  'start': number;
  'end': number;
  'speaker': string;
}
export interface TurnEvent {
  'task_id': string;
  'state': TurnState;
  'channel': number | null;
  'start': number;
  'end': number;
  'text': string;
  'speaker': string | null;
}
export interface UserLoad {
  'user_id': number | string | null;
  'waiting': number;
  'running': number;
  'waiting_seconds': number;
}
export interface UserRequest {
  'user_id': number | string;
  'after'?: string | null;
}
export interface Voice {
  'voice': string;
  'name': string;
  'consent': Consent;
  'references': Reference[];
  'model': Model;
  'comparable': boolean;
}
export interface VoicePage {
  'voices': Voice[];
  'more_after': number | null;
}
export interface VoicesRequest {
  'user_id': number | string;
  'after'?: number | null;
}
export interface WindowReply {
  'worker': string;
  'text': WindowText | null;
}
export interface WindowRequest {
  'window': ReservedWindow;
  'options'?: TranscribeOptions | null;
  'previous'?: string | null;
  'model': Model;
  'fingerprint'?: string | null;
}
export interface WindowText {
  'segments': Segment[];
  'untranscribed': Interval[];
  'entities': SpokenEntity[];
  'language': string | null;
  'settled': boolean;
  'end': number;
  'channel': number | null;
}
export interface Word {
  'start': number;
  'end': number;
  'word': string;
  'probability': number;
}
export interface WorkerInfo {
  'worker': string;
  'version': string;
  'started_at': string;
  'idle': boolean;
  'model': Model | null;
  'models': string[] | null;
  'engine': string;
  'audio_store': string;
  'audio_store_answers': boolean;
  'redis_answers': boolean;
  'problems': Problem[];
}
export interface WorkersRequest {
  
}
export type AudioRedaction = "none" | "silence" | "beep";
export type BodyEncoding = "utf-8" | "base64";
export type CancelRequests = TaskStatus | ErrorReply;
export type Channels = "auto" | "mix" | "separate";
export type Codec = "pcm_s16le" | "mulaw" | "alaw" | "opus";
export type DeleteRequests = TaskRequest | UserRequest;
export type DiscoverInstanceRequests = ServicePing | ServiceInfo | ServiceStats | ErrorReply;
export type DiscoverServiceRequests = ServicePing | ServiceInfo | ServiceStats | ErrorReply;
export type DiscoverServicesRequests = ServicePing | ServiceInfo | ServiceStats | ErrorReply;
export type EnrollRequests = Voice | ErrorReply;
export type EntityGroup = "pci" | "contact" | "all";
export type EntityType = "person" | "phone" | "email" | "card" | "bank_account" | "national_id" | "address" | "date_of_birth" | "date" | "url" | "username_password" | "number";
export type ErasureReason = "request" | "user" | "retention";
export type ErrorCode = "invalid_message" | "invalid_request" | "unknown_model" | "audio_not_found" | "audio_unreadable" | "audio_too_large" | "timeout" | "expired" | "quota_exceeded" | "worker_lost" | "engine_failed" | "not_found" | "not_finished" | "format_unavailable" | "internal";
export type ForgetRequests = Forgotten | ErrorReply;
export type Kind = "transcription" | "diarization";
export type LetterDeletionRequests = LettersDeleted | ErrorReply;
export type ListRequests = TaskPage | ErrorReply;
export type Numbers = "as_is" | "digits";
export type Priority = "high" | "normal" | "low";
export type QueueRequests = QueueOverview | ErrorReply;
export type RedactRequests = Redacted | ErrorReply;
export type RenameRequests = Voice | ErrorReply;
export type Replacement = "label" | "numbered" | "mask";
export type ReplayRequests = Replayed | ErrorReply;
export type ResultFormat = "json" | "txt" | "srt" | "vtt" | "rttm" | "html";
export type ResultRequests = TranscriptionResult | DiarizationResult | string | string | ErrorReply;
export type Results = TranscriptionResult | DiarizationResult;
export type Source = "recording" | "live";
export type Stage = "fetching" | "decoding" | "transcribing" | "diarizing" | "merging";
export type State = "scheduled" | "queued" | "running" | "retrying" | "completed" | "failed" | "cancelled";
export type StatusRequests = TaskStatus | ErrorReply;
export type TaskType = "transcription" | "diarization" | "live";
export type TurnState = "started" | "eager_end" | "resumed" | "ended";
export type VoicesRequests = VoicePage | ErrorReply;
export type WindowRequests = WindowReply | ErrorReply;
export type WorkerRequests = WorkerInfo | ErrorReply;
