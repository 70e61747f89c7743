import { boot } from "../shared/boot";
import { WorkerApp } from "./WorkerApp";

void boot({
  page: "worker",
  roles: ["worker"],
  theme: "system",
  render: (config, session) => <WorkerApp config={config} session={session} />,
});
